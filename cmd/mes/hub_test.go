package main

import (
	"crypto/sha1"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

// smallHub starts a hub with one repository, and puts its address into $NAME.
func smallHub(ts *testscript.TestScript, _ bool, args []string) {
	srv := httptest.NewServer(http.HandlerFunc(serveSmallHub))
	ts.Defer(srv.Close)
	ts.Setenv(args[0], srv.URL)
}

// mode checks the permissions of a file.
func mode(ts *testscript.TestScript, _ bool, args []string) {
	info, err := os.Stat(ts.MkAbs(args[1]))
	ts.Check(err)
	if got := strconv.FormatUint(uint64(info.Mode().Perm()), 8); got != args[0] {
		ts.Fatalf("mode %s, want %s", got, args[0])
	}
}

// smallFiles are the files of acme/m.
var smallFiles = map[string]string{"README.md": "hello", "a/b.txt": "abc"}

func blobID(text string) string {
	return fmt.Sprintf("%x", sha1.Sum(fmt.Appendf(nil, "blob %d\x00%s", len(text), text)))
}

// serveSmallHub answers the calls that the script makes, from the texts of the
// protocol.
func serveSmallHub(w http.ResponseWriter, r *http.Request) {
	const commit = "0123456789abcdef0123456789abcdef01234567"
	entries := make([]string, 0, len(smallFiles))
	for name, text := range smallFiles {
		entries = append(entries, fmt.Sprintf(`{"type":"file","path":%q,"size":%d,"oid":%q}`, name, len(text), blobID(text)))
	}
	switch path := r.URL.Path; {
	case path == "/api/whoami-v2" && r.Header.Get("Authorization") == "Bearer hf_right":
		_, _ = io.WriteString(w, `{"name":"alice","orgs":[{"name":"acme"}],"auth":{"accessToken":{"role":"write"}}}`)
	case path == "/api/whoami-v2":
		w.WriteHeader(http.StatusUnauthorized)
	case path == "/api/validate-yaml":
		_, _ = io.WriteString(w, `{}`)
	case path == "/api/models/acme/m", path == "/api/models/acme/m/revision/main":
		_, _ = io.WriteString(w, `{"id":"acme/m","sha":"`+commit+`"}`)
	case path == "/api/models/acme/m/tree/"+commit:
		_, _ = io.WriteString(w, "["+strings.Join(entries, ",")+"]")
	case path == "/api/models/acme/m/preupload/main":
		_, _ = fmt.Fprintf(w, `{"commitOid":%q,"files":[{"path":"README.md","uploadMode":"regular","oid":%q},{"path":"new.txt","uploadMode":"regular"}]}`,
			commit, blobID("hello"))
	case path == "/api/models/acme/m/commit/main":
		_, _ = io.WriteString(w, `{"commitOid":"89abcdef0123456789abcdef0123456789abcdef"}`)
	case strings.HasPrefix(path, "/acme/m/resolve/"+commit+"/"):
		text := smallFiles[strings.TrimPrefix(path, "/acme/m/resolve/"+commit+"/")]
		w.Header().Set("X-Repo-Commit", commit)
		w.Header().Set("ETag", strconv.Quote(blobID(text)))
		_, _ = io.WriteString(w, text)
	default:
		w.Header().Set("X-Error-Code", "RepoNotFound")
		w.WriteHeader(http.StatusNotFound)
	}
}
