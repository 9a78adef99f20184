package server_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/mamba-encoder-swarm/mes/hub/server"
)

func TestCommit(t *testing.T) {
	h := newHub(t, nil)
	h.create("model", "m", false)
	h.sendLFS("alice/m", "large content")
	first := h.commit("alice/m", file("README.md", "# hi\n"), file("dir/a.txt", "a"), file("dir/b.txt", "b"), lfsFile("w.bin", "large content"))
	post := "/api/models/alice/m/commit/"
	cases := []struct {
		name, rev, body string
		status          int
		code            string
	}{
		{"stale parent", "main", ndjson(header("x", strings.Repeat("a", 40)), file("a", "b")), 412, "PreconditionFailed"},
		{"parent is no id", "main", ndjson(header("x", "main"), file("a", "b")), 400, "BadRequest"},
		{"unknown revision", "none", ndjson(header("x"), file("a", "b")), 404, "RevisionNotFound"},
		{"revision is an id", first, ndjson(header("x"), file("a", "b")), 404, "RevisionNotFound"},
		{"pull request on an id", first + "?create_pr=1", ndjson(header("x"), file("a", "b")), 404, "RevisionNotFound"},
		{"backslashes", "main", ndjson(header("x"), file(`..\ddd`, "b")), 422, "UnprocessableEntity"},
		{"leaves the repo", "main", ndjson(header("x"), file("../x", "b")), 422, "UnprocessableEntity"},
		{"leaves the repo inside", "main", ndjson(header("x"), file("a/../../x", "b")), 422, "UnprocessableEntity"},
		{"absolute", "main", ndjson(header("x"), file("/etc/passwd", "b")), 422, "UnprocessableEntity"},
		{"git's own folder", "main", ndjson(header("x"), file("a/.GIT/config", "b")), 422, "UnprocessableEntity"},
		{"git's own folder, disguised", "main", ndjson(header("x"), file(".g\u200cit/config", "b")), 422, "UnprocessableEntity"},
		{"empty part", "main", ndjson(header("x"), file("a//b", "b")), 422, "UnprocessableEntity"},
		{"zero byte", "main", ndjson(header("x"), file("a\x00b", "b")), 422, "UnprocessableEntity"},
		{"empty path", "main", ndjson(header("x"), file("", "b")), 422, "UnprocessableEntity"},
		{"name too long", "main", ndjson(header("x"), file(strings.Repeat("n", 256), "b")), 422, "UnprocessableEntity"},
		{"file where a folder is", "main", ndjson(header("x"), file("dir", "b")), 422, "UnprocessableEntity"},
		{"folder where a file is", "main", ndjson(header("x"), file("README.md/x", "b")), 422, "UnprocessableEntity"},
		{"file and folder at once", "main", ndjson(header("x"), file("n", "b"), file("n/x", "b")), 422, "UnprocessableEntity"},
		{"delete what is not there", "main", ndjson(header("x"), deleted("deletedFile", "none")), 404, "EntryNotFound"},
		{"delete a folder as a file", "main", ndjson(header("x"), deleted("deletedFile", "dir")), 404, "EntryNotFound"},
		{"large file not sent", "main", ndjson(header("x"), lfsFile("l.bin", "never sent")), 422, "UnprocessableEntity"},
		{"pointer to a file not sent", "main", ndjson(header("x"), file("l.bin", "version https://git-lfs.github.com/spec/v1\noid sha256:"+sha("no")+"\nsize 2\n")), 422, "UnprocessableEntity"},
		{"large file of another size", "main", ndjson(header("x"), map[string]any{"key": "lfsFile", "value": map[string]any{"path": "l", "algo": "sha256", "oid": sha("large content"), "size": 3}}), 422, "UnprocessableEntity"},
		{"negative size", "main", ndjson(header("x"), map[string]any{"key": "lfsFile", "value": map[string]any{"path": "l", "algo": "sha256", "oid": sha("large content"), "size": -3}}), 400, "BadRequest"},
		{"bad hash", "main", ndjson(header("x"), map[string]any{"key": "lfsFile", "value": map[string]any{"path": "l", "algo": "sha256", "oid": "../../hub.db"}}), 400, "BadRequest"},
		{"no header", "main", ndjson(file("a", "b")), 400, "BadRequest"},
		{"two headers", "main", ndjson(header("x"), header("y")), 400, "BadRequest"},
		{"unknown key", "main", ndjson(header("x"), map[string]any{"key": "exec", "value": map[string]any{"path": "a"}}), 400, "BadRequest"},
		{"no JSON", "main", "{", 400, "BadRequest"},
		{"no base64", "main", ndjson(header("x"), map[string]any{"key": "file", "value": map[string]any{"path": "a", "content": "*", "encoding": "base64"}}), 400, "BadRequest"},
		{"empty body", "main", "", 400, "BadRequest"},
		{"line too long", "main", ndjson(header("x"), file("a", strings.Repeat("x", 19<<20))), 413, "PayloadTooLarge"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			r := h.send("alice", "POST", post+c.rev, c.body)
			if r.status != c.status || r.header.Get("X-Error-Code") != c.code {
				t.Errorf("got %d %s, want %d %s", r.status, r.header.Get("X-Error-Code"), c.status, c.code)
			}
			if head := field[string](h, h.want(200, "", "GET", "/api/models/alice/m", nil), "sha"); head != first {
				t.Errorf("the branch moved to %s", head)
			}
		})
	}
	h.commit("alice/m", deleted("deletedFolder", "dir/"), file("dir", "now a file"))
	if got := h.want(200, "", "GET", "/alice/m/resolve/main/dir", nil).body; got != "now a file" {
		t.Errorf("dir holds %q", got)
	}
	again := h.commit("alice/m", file("dir", "now a file"))
	if head := field[string](h, h.want(200, "", "GET", "/api/models/alice/m/revision/HEAD", nil), "sha"); head != again {
		t.Errorf("a commit without changes moved the branch")
	}
}

// TestLegalNames commits names with every character that a path may hold and
// reads them back by every way.
func TestLegalNames(t *testing.T) {
	h := newHub(t, nil)
	h.create("model", "m", false)
	names := []string{"a b", "ü/ß.txt", "100%", "%2e%2e", "a+b&c=d", "#x?y", "con", "aux.py", "..x", "x..", "'\"", "日本/語", "a;b,c", "[x]{y}", "~!@$^()|<>:*", "trailing.", " lead", "e\u0301"}
	var lines []map[string]any
	for _, name := range names {
		lines = append(lines, file(name, "content of "+name))
	}
	h.commit("alice/m", lines...)
	for _, name := range names {
		for _, escaped := range []string{escape(name, false), escape(name, true)} {
			if got := h.want(200, "", "GET", "/alice/m/resolve/main/"+escaped, nil).body; got != "content of "+name {
				t.Errorf("%q through %s: %q", name, escaped, got)
			}
		}
	}
}

// escape percent-encodes all bytes but letters, and slashes too when asked.
func escape(name string, slashes bool) string {
	var out strings.Builder
	for _, b := range []byte(name) {
		if b == '/' && !slashes || b >= 'a' && b <= 'z' {
			out.WriteByte(b)
		} else {
			fmt.Fprintf(&out, "%%%02X", b)
		}
	}
	return out.String()
}

// TestBigRegularFile: what is too large for git becomes a large file by itself.
func TestBigRegularFile(t *testing.T) {
	h := newHub(t, nil)
	h.create("model", "m", false)
	content := strings.Repeat("0123456789abcdef", 11<<20/16)
	h.commit("alice/m", file("big.txt", content))
	if got := h.want(200, "", "GET", "/alice/m/resolve/main/big.txt", nil); got.body != content || got.header.Get("X-Linked-Etag") != `"`+sha(content)+`"` {
		t.Errorf("etag %s", got.header.Get("X-Linked-Etag"))
	}
	if raw := h.want(200, "", "GET", "/alice/m/raw/main/big.txt", nil).body; !strings.HasPrefix(raw, "version https://git-lfs") {
		t.Errorf("git keeps %d bytes", len(raw))
	}
}

// TestTwoWriters: with one parent, one commit wins and the others are told;
// without, all succeed and nothing is lost.
func TestTwoWriters(t *testing.T) {
	h := newHub(t, nil)
	h.create("model", "m", false)
	parent := h.commit("alice/m", file("start", "x"))
	race := func(lines func(i int) string) (won int) {
		var wg sync.WaitGroup
		statuses := make([]int, 8)
		for i := range statuses {
			wg.Go(func() { statuses[i] = h.send("alice", "POST", "/api/models/alice/m/commit/main", lines(i)).status })
		}
		wg.Wait()
		for _, status := range statuses {
			switch status {
			case 200:
				won++
			case 412:
			default:
				t.Errorf("status %d", status)
			}
		}
		return won
	}
	if won := race(func(i int) string { return ndjson(header("x", parent), file(fmt.Sprint("one-", i), "x")) }); won != 1 {
		t.Errorf("%d of the writers with the same parent won", won)
	}
	if won := race(func(i int) string { return ndjson(header("x"), file(fmt.Sprint("all-", i), "x")) }); won != 8 {
		t.Errorf("%d of 8 writers without a parent won", won)
	}
	for i := range 8 {
		h.want(200, "", "GET", fmt.Sprint("/alice/m/resolve/main/all-", i), nil)
	}
}

// TestForeignLargeFile: the hash of another repo's file gives nothing.
func TestForeignLargeFile(t *testing.T) {
	h := newHub(t, nil)
	h.create("model", "secret", true)
	h.sendLFS("alice/secret", "a secret")
	h.commit("alice/secret", lfsFile("s.bin", "a secret"))
	h.want(200, "bob", "POST", "/api/repos/create", map[string]any{"name": "thief"})
	h.want(422, "bob", "POST", "/api/models/bob/thief/commit/main", ndjson(header("x"), lfsFile("s.bin", "a secret")))
	pointer := "version https://git-lfs.github.com/spec/v1\noid sha256:" + sha("a secret") + "\nsize 8\n"
	h.want(422, "bob", "POST", "/api/models/bob/thief/commit/main", ndjson(header("x"), file("s.bin", pointer)))
	batch := func(operation, content string) string {
		return h.want(200, "bob", "POST", "/bob/thief.git/info/lfs/objects/batch", map[string]any{
			"operation": operation, "objects": []any{map[string]any{"oid": sha(content), "size": len(content)}}}).body
	}
	if got := batch("download", "a secret"); !strings.Contains(got, `"code":404`) {
		t.Errorf("download of a foreign object: %s", got)
	}
	if got := batch("upload", "a secret"); !strings.Contains(got, `"upload"`) {
		t.Errorf("the server tells that it has the object: %s", got)
	}
	r := h.want(200, "bob", "POST", "/api/models/bob/thief/lfs-files/duplicate", map[string]any{
		"target": map[string]any{"type": "model", "name": "bob/thief"}, "files": []any{map[string]any{"sha256": sha("a secret")}}})
	if !strings.Contains(r.body, `"failed":[{`) {
		t.Errorf("copied: %s", r.body)
	}
	// Who has the bytes may send them, and they are stored once.
	h.sendLFS("alice/secret", "a secret")
}

// TestSignedAddresses: an address for one thing is none for another.
func TestSignedAddresses(t *testing.T) {
	h := newHub(t, nil)
	h.create("model", "m", false)
	r := h.want(200, "alice", "POST", "/alice/m.git/info/lfs/objects/batch", map[string]any{
		"operation": "upload", "objects": []any{map[string]any{"oid": sha("bytes"), "size": 5}}})
	var batch struct {
		Objects []struct {
			Actions map[string]struct{ Href string }
		}
	}
	h.must(json.Unmarshal([]byte(r.body), &batch))
	href := batch.Objects[0].Actions["upload"].Href
	for name, bad := range map[string]string{
		"other object": strings.Replace(href, sha("bytes"), sha("other"), 1), "other size": strings.Replace(href, "size=5", "size=6", 1),
		"other user": strings.Replace(href, "by=alice", "by=bob", 1), "later": strings.Replace(href, "sig=1", "sig=9", 1),
		"no signature": href[:strings.Index(href, "sig=")],
	} {
		if got := h.send("", "PUT", bad, "bytes"); got.status != 403 {
			t.Errorf("%s: status %d", name, got.status)
		}
	}
	if got := h.send("", "GET", href, nil); got.status != 403 {
		t.Errorf("an address to send to can be read: %d", got.status)
	}
	h.want(400, "", "PUT", href, "bytez")
	h.want(400, "", "PUT", href, "bytes and more")
	h.want(422, "alice", "POST", "/api/models/alice/m/commit/main", ndjson(header("x"), lfsFile("b", "bytes")))
	h.want(200, "", "PUT", href, "bytes")
	h.commit("alice/m", lfsFile("b", "bytes"))
}

// TestMultipart sends a file in parts.
func TestMultipart(t *testing.T) {
	h := newHub(t, func(c *server.Config) { c.MultipartFrom = 1 << 20 })
	h.create("model", "m", false)
	content := strings.Repeat("0123456789abcdef", (64<<20+5<<20)/16) // two parts
	r := h.want(200, "alice", "POST", "/alice/m.git/info/lfs/objects/batch", map[string]any{
		"operation": "upload", "transfers": []string{"basic", "multipart"}, "objects": []any{map[string]any{"oid": sha(content), "size": len(content)}}})
	var batch struct {
		Transfer string
		Objects  []struct {
			Actions map[string]struct {
				Href   string
				Header map[string]string
			}
		}
	}
	h.must(json.Unmarshal([]byte(r.body), &batch))
	upload := batch.Objects[0].Actions["upload"]
	if batch.Transfer != "multipart" || len(upload.Header) != 3 || upload.Header["chunk_size"] != "67108864" {
		t.Fatalf("transfer %s, header %v", batch.Transfer, upload.Header)
	}
	tag1 := h.want(200, "", "PUT", upload.Header["00001"], content[:64<<20]).header.Get("ETag")
	h.want(400, "", "PUT", upload.Header["00002"], content[64<<20+1:])
	join := func(tags ...string) map[string]any {
		parts := []any{}
		for i, tag := range tags {
			parts = append(parts, map[string]any{"partNumber": i + 1, "etag": tag})
		}
		return map[string]any{"oid": sha(content), "parts": parts}
	}
	h.want(400, "", "POST", upload.Href, join(tag1, tag1))
	tag2 := h.want(200, "", "PUT", upload.Header["00002"], content[64<<20:]).header.Get("ETag")
	h.want(400, "", "POST", upload.Href, join(tag2, tag1))
	h.want(200, "", "POST", upload.Href, join(tag1, tag2))
	h.want(200, "", "POST", upload.Href, join(tag1, tag2))
	h.commit("alice/m", lfsFile("big", content))
}
