package trainer

import "testing"

// TestExtensionPlanDevices: the devices can share a step of the plan that is made for a new
// domain, which has 8 texts where they can share these.
func TestExtensionPlanDevices(t *testing.T) {
	for devices, want := range map[int]int{1: 8, 2: 8, 3: 9, 4: 8, 5: 10, 8: 8, 12: 12} {
		for _, tokens := range []int64{1, 5000, 1e7} {
			p := ExtensionPlan(trained(), tokens, true, devices)
			if p.Batch != want {
				t.Errorf("%d devices: %d texts a step, want %d", devices, p.Batch, want)
			}
			if err := p.withDefaults().Check(trained()); err != nil {
				t.Errorf("%d devices, %d tokens: %v", devices, tokens, err)
			}
		}
	}
}
