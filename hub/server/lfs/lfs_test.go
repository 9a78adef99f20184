package lfs

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func sum(s string) string {
	h := sha256.Sum256([]byte(s))
	return hex.EncodeToString(h[:])
}

func TestPut(t *testing.T) {
	s, err := Open(t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	cases := []struct {
		name, sha, body string
		size            int64
		want            error
	}{
		{"right", sum("large"), "large", 5, nil},
		{"again", sum("large"), "large", 5, nil},
		{"other bytes", sum("large"), "lerge", 5, ErrMismatch},
		{"too long", sum("other"), "other and more", 5, ErrMismatch},
		{"too short", sum("other"), "oth", 5, ErrMismatch},
		{"size lies", sum("other"), "other", 4, ErrMismatch},
		{"no hash", "4206e3f8", "other", 5, ErrMismatch},
		{"hash that leaves", "../../../../etc/passwd", "other", 5, ErrMismatch},
		{"upper case", strings.ToUpper(sum("other")), "other", 5, ErrMismatch},
	}
	for _, c := range cases {
		if err := s.Put(ctx, c.sha, c.size, strings.NewReader(c.body)); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
	if _, err := s.Size(sum("other")); !errors.Is(err, ErrNotFound) {
		t.Errorf("refused bytes are stored: %v", err)
	}
	left, err := os.ReadDir(filepath.Join(s.dir, "temp"))
	if err != nil || len(left) > 0 {
		t.Errorf("left in temp: %v %v", left, err)
	}
	if err := os.Chmod(s.Path(sum("large")), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.Check(ctx, sum("large")); err != nil {
		t.Error(err)
	}
	if err := os.WriteFile(s.Path(sum("large")), []byte("damaged"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.Check(ctx, sum("large")); !errors.Is(err, ErrMismatch) {
		t.Errorf("damage is not seen: %v", err)
	}
}

func TestCleanTemp(t *testing.T) {
	s, err := Open(t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.PutPart(t.Context(), "upload", 3, 1, strings.NewReader("abc")); err != nil {
		t.Fatal(err)
	}
	if err := s.CleanTemp(time.Now().Add(-time.Hour)); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(s.dir, "parts", "upload")); err != nil {
		t.Error("a young upload is gone")
	}
	if err := s.CleanTemp(time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(s.dir, "parts", "upload")); err == nil {
		t.Error("an old upload is left")
	}
}

func TestPointer(t *testing.T) {
	p := Pointer{SHA256: sum("x"), Size: 1}
	// As git-lfs 3.3 writes it.
	want := "version https://git-lfs.github.com/spec/v1\noid sha256:2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881\nsize 1\n"
	if string(p.Text()) != want {
		t.Errorf("pointer %q", p.Text())
	}
	for name, text := range map[string]string{
		"other version": strings.Replace(want, "v1", "v2", 1), "short hash": strings.Replace(want, "2d71", "", 1), "upper case": strings.Replace(want, "2d71", "2D71", 1),
		"negative": strings.Replace(want, "size 1", "size -1", 1), "leading zero": strings.Replace(want, "size 1", "size 01", 1), "no size": strings.Split(want, "size")[0],
		"wrong order": "version https://git-lfs.github.com/spec/v1\nsize 1\noid sha256:" + sum("x") + "\n", "text": "hello", "empty": "",
		"too long": want + strings.Repeat("x", MaxPointer), "size overflows": strings.Replace(want, "size 1", "size 99999999999999999999", 1),
	} {
		if got, ok := ParsePointer([]byte(text)); ok {
			t.Errorf("%s: taken as %v", name, got)
		}
	}
}

func FuzzPointer(f *testing.F) {
	f.Add([]byte(Pointer{sum("x"), 1}.Text()))
	f.Add([]byte("version https://git-lfs.github.com/spec/v1\next-0-a sha256:x\noid sha256:" + sum("x") + "\nsize 3\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		p, ok := ParsePointer(text)
		if !ok {
			return
		}
		again, ok := ParsePointer(p.Text())
		if !ok || again != p || !IsSHA256(p.SHA256) || p.Size < 0 {
			t.Errorf("%q is read as %v and again as %v", text, p, again)
		}
	})
}
