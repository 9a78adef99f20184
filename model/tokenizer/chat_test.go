package tokenizer

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// TestChatTemplates renders what transformers' Jinja renders.
func TestChatTemplates(t *testing.T) {
	for _, test := range readJSON[[]struct {
		Name, Template, Want, Error string
		Messages                    []Message
		Prompt                      bool
	}](t, "chat.json") {
		c := &Config{ChatTemplate: test.Template, BOSToken: "<s>", EOSToken: "</s>"}
		got, err := c.ApplyChatTemplate(test.Messages, test.Prompt)
		name := fmt.Sprintf("%s, %d messages, prompt %v", test.Name, len(test.Messages), test.Prompt)
		if test.Error != "" {
			if err == nil || !strings.HasSuffix(err.Error(), "refuses the messages: "+test.Error) {
				t.Errorf("%s: error %v, want %q", name, err, test.Error)
			}
			continue
		}
		if err != nil || got != test.Want {
			t.Errorf("%s: %v\n got %q\nwant %q", name, err, got, test.Want)
		}
	}
}

func TestChatTemplateErrors(t *testing.T) {
	hi := []Message{{Role: "user", Content: "Hi"}}
	if _, err := (&Config{}).ApplyChatTemplate(hi, true); !errors.Is(err, ErrNoChatTemplate) {
		t.Errorf("no template: %v", err)
	}
	for template, want := range map[string]string{
		"{% for m in messages %}":                "read chat template: ",
		"{{ messages | nonsense }}":              "apply chat template: ",
		"{% include '/etc/passwd' %}":            "apply chat template: ",
		"{{ raise_exception('no ' + 'tools') }}": "chat template refuses the messages: no tools",
	} {
		c := &Config{ChatTemplate: template}
		if got, err := c.ApplyChatTemplate(hi, true); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: %q, error %v, want %q", template, got, err, want)
		}
	}
}

func ExampleConfig_ApplyChatTemplate() {
	c := &Config{ChatTemplate: "{% for m in messages %}<{{ m.role }}>{{ m.content }}</s>{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"}
	prompt, err := c.ApplyChatTemplate([]Message{{Role: "user", Content: "Which rivers meet in Koblenz?"}}, true)
	fmt.Println(prompt, err)
	// Output: <user>Which rivers meet in Koblenz?</s><assistant> <nil>
}
