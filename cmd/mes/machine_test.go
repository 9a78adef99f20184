package main

import (
	"runtime/debug"
	"testing"
)

// TestCommit: the compiler's notes count before the stamp, which stands in where there are none.
func TestCommit(t *testing.T) {
	const revision = "c5d4e9b0123456789abcdef0123456789abcdef0"
	noted := func(modified string) []debug.BuildSetting {
		return []debug.BuildSetting{{Key: "-compiler", Value: "gc"}, {Key: "vcs.revision", Value: revision}, {Key: "vcs.modified", Value: modified}}
	}
	for _, tt := range []struct {
		settings []debug.BuildSetting
		stamp    string
		want     string
	}{
		{noted("false"), "", "c5d4e9b01234"},
		{noted("true"), "", "c5d4e9b01234, modified"},
		{noted("false"), "0ea9787aaaaa-dirty", "c5d4e9b01234"},
		{nil, "0ea9787aaaaa", "0ea9787aaaaa"},
		{nil, "0ea9787aaaaa-dirty", "0ea9787aaaaa, modified"},
		{nil, "", ""},
	} {
		if got := commitOf(tt.settings, tt.stamp); got != tt.want {
			t.Errorf("%v, stamp %q: %q, want %q", tt.settings, tt.stamp, got, tt.want)
		}
	}
}
