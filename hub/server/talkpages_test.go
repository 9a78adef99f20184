package server

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mamba-encoder-swarm/mes/hub/server/view"
)

// TestTalkPages looks at the pages of discussions and of a pull request: that they
// show what was said and done, run nothing and load nothing from elsewhere.
func TestTalkPages(t *testing.T) {
	h := newPageHub(t)
	h.repo("m", false, map[string]string{"README.md": "# Card", "old.txt": "one\ntwo\n"})
	post := func(token, path string, body any) map[string]any {
		data, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		var answer map[string]any
		if err := json.Unmarshal([]byte(h.must(200, token, "POST", "/api/models/alice/m"+path, data)), &answer); err != nil {
			t.Fatal(err)
		}
		return answer
	}
	post(h.bob, "/discussions", map[string]any{"title": "<script>alert(0)</script>", "description": "---\na: b\n---\n**bold** [x](javascript:alert(1)) <img src=x onerror=alert(2)> ![](https://evil.example/p.png) [file](old.txt)"})
	said := post(h.alice, "/discussions/1/comment", map[string]any{"comment": "<script>alert(3)</script>an *answer*"})
	post(h.alice, "/discussions/1/comment/"+said["newMessage"].(map[string]any)["id"].(string)+"/edit", map[string]any{"content": "another *answer*"})
	secret := post(h.bob, "/discussions/1/comment", map[string]any{"comment": "to be hidden"})
	post(h.alice, "/discussions/1/comment/"+secret["newMessage"].(map[string]any)["id"].(string)+"/hide", map[string]any{})
	post(h.bob, "/discussions/1/title", map[string]any{"title": "a <b>new</b> title"})
	post(h.alice, "/discussions/1/status", map[string]any{"status": "closed"})
	lines := `{"key":"header","value":{"summary":"a proposal"}}
{"key":"file","value":{"path":"old.txt","content":"one\n<script>alert(4)</script>\n","encoding":"utf-8"}}
{"key":"file","value":{"path":"a b <i>.txt","content":"new\n","encoding":"utf-8"}}`
	h.must(200, h.bob, "POST", "/api/models/alice/m/commit/main?create_pr=1", []byte(lines))
	post(h.bob, "/discussions", map[string]any{"title": "a draft", "pullRequest": true})
	h.must(200, h.alice, "POST", "/api/models/alice/m/commit/main", []byte(strings.Replace(lines, "alert(4)", "conflict", 1)))

	for path, wants := range map[string][]string{
		"/alice/m":                           {`href="/alice/m/discussions"`},
		"/alice/m/discussions":               {`href="/alice/m/discussions/2"`, "a proposal", "Open (2)", "Closed (1)", "Pull request", "status-open", "a draft", "status-draft"},
		"/alice/m/discussions?status=closed": {`href="/alice/m/discussions/1"`, "a &lt;b&gt;new&lt;/b&gt; title", "status-closed", "3 comments"},
		"/alice/m/discussions?limit=1":       {`href="/alice/m/discussions?limit=1&amp;p=1"`},
		"/alice/m/discussions/1": {"a &lt;b&gt;new&lt;/b&gt; title", "<strong>bold</strong>", "another <em>answer</em>", "edited", "has been hidden",
			`from &#34;&lt;script&gt;alert(0)&lt;/script&gt;&#34;`, "set the status to closed.", `href="/alice/m/blob/main/old.txt"`, "a: b"},
		"/alice/m/discussions/2": {"a proposal", "into <code>main</code>", `class="del">-two`, `class="add">+&lt;script&gt;alert(4)`, "a b &lt;i&gt;.txt",
			"It cannot be merged", "<li><code>old.txt</code></li>"},
		"/alice/m/discussions/3": {"No files are changed yet", "refs/pr/3"},
	} {
		w := h.do("", "GET", path, nil)
		body := w.Body.String()
		if w.Code != 200 {
			t.Errorf("%s: %d %s", path, w.Code, body)
		}
		for _, want := range wants {
			if !strings.Contains(body, want) {
				t.Errorf("%s: no %q in %s", path, want, body)
			}
		}
		for _, bad := range []string{"<script", "<img src=x", `href="javascript:`, `src="http`, "style=", "to be hidden"} {
			if strings.Contains(body, bad) {
				t.Errorf("%s: %q in %s", path, bad, body)
			}
		}
		if policy := w.Header().Get("Content-Security-Policy"); policy != pagePolicy {
			t.Errorf("%s: policy %q", path, policy)
		}
	}
	for _, path := range []string{"/alice/m/discussions/4", "/alice/m/discussions/x", "/alice/m/discussions/-1"} {
		h.must(404, "", "GET", path, nil)
	}
	post(h.alice, "/discussions/3/status", map[string]any{"status": "open"})
	post(h.alice, "/discussions/3/merge", map[string]any{"comment": "good"})
	if body := h.must(200, "", "GET", "/alice/m/discussions/3", nil); !strings.Contains(body, "status-merged") || !strings.Contains(body, "set the status to merged.") {
		t.Errorf("merged: %s", body)
	}

	// Of a gated repo the talk is seen, the files are not.
	h.must(200, h.alice, "PUT", "/api/models/alice/m/settings", []byte(`{"gated":"manual"}`))
	for who, token := range map[string]string{"nobody": "", "bob": h.bob} {
		if body := h.must(200, token, "GET", "/alice/m/discussions/2", nil); !strings.Contains(body, "a proposal") || strings.Contains(body, "alert(4)") || strings.Contains(body, "old.txt") {
			t.Errorf("gated, %s: %s", who, body)
		}
	}
	if body := h.must(200, h.alice, "GET", "/alice/m/discussions/2", nil); !strings.Contains(body, "alert(4)") {
		t.Error("gated: its owner does not see the changes")
	}
}

// TestLongDiff says that not all is shown.
func TestLongDiff(t *testing.T) {
	h := newPageHub(t)
	h.repo("m", false, nil)
	for name, content := range map[string]string{"many lines": strings.Repeat("x\n", pageDiff+1), "long lines": strings.Repeat(strings.Repeat("x", 1<<16)+"\n", 20)} {
		line, err := json.Marshal(map[string]any{"key": "file", "value": map[string]string{"path": "f.txt", "encoding": "utf-8", "content": content}})
		if err != nil {
			t.Fatal(err)
		}
		body := h.must(200, h.bob, "POST", "/api/models/alice/m/commit/main?create_pr=1", append([]byte(`{"key":"header","value":{"summary":"long"}}`+"\n"), line...))
		var answer struct{ PullRequestURL string }
		if err := json.Unmarshal([]byte(body), &answer); err != nil {
			t.Fatal(err)
		}
		_, path, _ := strings.Cut(answer.PullRequestURL, "example.com")
		if page := h.must(200, "", "GET", path, nil); !strings.Contains(page, "longer than what is shown") || len(page) > 3<<20 {
			t.Errorf("%s: %d bytes", name, len(page))
		}
	}
}

const twoFiles = `diff --git a/a b b/a b
new file mode 100644
index 0000000..1111111
--- /dev/null
+++ b/a b
@@ -0,0 +1,2 @@
+--- not a header
+++ nor this
\ No newline at end of file
diff --git a/x b/y
Binary files a/x and b/y differ
`

func TestSplitDiff(t *testing.T) {
	want := []view.FileDiff{
		{Name: "a b", Lines: []view.DiffLine{
			{Kind: "at", Text: "new file mode 100644"}, {Kind: "at", Text: "@@ -0,0 +1,2 @@"}, {Kind: "add", Text: "+--- not a header"},
			{Kind: "add", Text: "+++ nor this"}, {Kind: "at", Text: `\ No newline at end of file`}}},
		{Name: "a/x b/y", Lines: []view.DiffLine{{Kind: "at", Text: "Binary files a/x and b/y differ"}}},
	}
	got, cut := splitDiff(twoFiles, 100)
	if diff := cmp.Diff(want, got); diff != "" || cut {
		t.Errorf("cut %v, %s", cut, diff)
	}
	if got, cut := splitDiff(twoFiles, 2); !cut || len(got) != 1 || len(got[0].Lines) != 2 {
		t.Errorf("cut %v, %+v", cut, got)
	}
}

// FuzzSplitDiff: whatever the text is, no more lines come out than are wanted, and
// none that was not in it.
func FuzzSplitDiff(f *testing.F) {
	for _, seed := range []string{"", "diff --git ", "diff --git a/ b/", "x\ndiff --git a/a b/a\n@@\n+", twoFiles, "diff --git \r\n\n\n"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		files, _ := splitDiff(text, 5)
		lines := 0
		for _, file := range files {
			lines += len(file.Lines)
			for _, l := range file.Lines {
				if !strings.Contains(text, l.Text) {
					t.Errorf("%q is not in %q", l.Text, text)
				}
			}
		}
		if lines > 5 {
			t.Error(fmt.Sprint(lines, " lines"))
		}
	})
}
