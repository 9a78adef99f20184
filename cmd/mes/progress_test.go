package main

import (
	"bytes"
	"testing"
	"time"

	"github.com/mamba-encoder-swarm/mes/hub/client"
)

func TestProgressForPrograms(t *testing.T) {
	var out bytes.Buffer
	m := &Main{Stderr: &out, Env: func(string) string { return "" }}
	bar := (&hubFlags{m: m, asJSON: true}).progress("upload")
	bar.last = time.Now().Add(-time.Minute)
	bar.transfer(client.Progress{Path: "a\n.bin", Done: 1, Size: 2, AllDone: 3, AllSize: 4})
	bar.transfer(client.Progress{Path: "too soon", AllSize: 4})
	bar.finish()
	const want = `{"progress":"upload","file":"a\n.bin","done":1,"size":2,"all_done":3,"all_size":4}` + "\n"
	if out.String() != want {
		t.Errorf("%q", out.String())
	}
}
