package gitrepo

import (
	"bytes"
	"compress/zlib"
	"crypto/sha1"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/go-git/go-git/v5/plumbing"
)

// packer writes packs by hand, good and bad ones.
type packer struct {
	bytes.Buffer
	count uint32
}

// object adds one and gives its offset. claim is the length that its head states;
// between stands between head and data, as a delta's base does.
func (p *packer) object(kind plumbing.ObjectType, claim int, between []byte, data io.Reader) int {
	if p.count == 0 {
		p.WriteString("PACK\x00\x00\x00\x02\x00\x00\x00\x00")
	}
	p.count++
	at := p.Len()
	b := byte(kind)<<4 | byte(claim&15)
	for claim >>= 4; claim > 0; claim >>= 7 {
		p.WriteByte(b | 0x80)
		b = byte(claim & 0x7f)
	}
	p.WriteByte(b)
	p.Write(between)
	zw := zlib.NewWriter(p)
	_, _ = io.Copy(zw, data)
	zw.Close()
	return at
}

func (p *packer) whole(kind plumbing.ObjectType, data string) int {
	return p.object(kind, len(data), nil, strings.NewReader(data))
}

// after adds a delta to the object at an offset.
func (p *packer) after(at int, delta []byte) int {
	distance := p.Len() - at
	back := []byte{byte(distance & 0x7f)}
	for distance >>= 7; distance > 0; distance >>= 7 {
		distance--
		back = append([]byte{0x80 | byte(distance&0x7f)}, back...)
	}
	return p.object(plumbing.OFSDeltaObject, len(delta), back, bytes.NewReader(delta))
}

func (p *packer) end() []byte {
	data := bytes.Clone(p.Bytes())
	binary.BigEndian.PutUint32(data[8:], p.count)
	sum := sha1.Sum(data)
	return append(data, sum[:]...)
}

// delta makes one from the sizes of base and result, and commands.
func delta(base, result int, commands ...[]byte) []byte {
	out := binary.AppendUvarint(binary.AppendUvarint(nil, uint64(base)), uint64(result))
	return append(out, bytes.Join(commands, nil)...)
}

func copyOf(at, n int) []byte {
	return []byte{0xff, byte(at), byte(at >> 8), byte(at >> 16), byte(at >> 24), byte(n), byte(n >> 8), byte(n >> 16)}
}

func insert(text string) []byte { return append([]byte{byte(len(text))}, text...) }

// repeat copies n bytes of a base as often as result bytes need.
func repeat(n, result int) (commands []byte) {
	for ; result > 0; result -= n {
		commands = append(commands, copyOf(0, min(n, result))...)
	}
	return commands
}

func treeOf(mode, name string, h Hash) string { return mode + " " + name + "\x00" + string(h[:]) }

func commitOf(tree Hash, parents ...Hash) string {
	text := "tree " + tree.String() + "\n"
	for _, p := range parents {
		text += "parent " + p.String() + "\n"
	}
	return text + "author A <a@example.org> 1 +0000\ncommitter A <a@example.org> 1 +0000\n\nwords\n"
}

func tagOf(kind string, of Hash) string {
	return "object " + of.String() + "\ntype " + kind + "\ntag v\ntagger A <a@example.org> 1 +0000\n\nwords\n"
}

func idOf(kind plumbing.ObjectType, data string) Hash {
	return plumbing.ComputeHash(kind, []byte(data))
}

// TestPackIndex: the ids that we find in packs of git's, with both kinds of deltas,
// are those that git finds.
func TestPackIndex(t *testing.T) {
	work := t.TempDir()
	git(t, work, "init", "-q", "-b", "main")
	rng := rand.New(rand.NewPCG(3, 4))
	lines := []string{}
	for i := range 30 {
		for range 200 {
			lines = append(lines, fmt.Sprint("line ", rng.IntN(1000)))
		}
		lines[rng.IntN(len(lines))] = fmt.Sprint("changed ", i)
		if err := os.WriteFile(filepath.Join(work, "text"), []byte(strings.Join(lines, "\n")), 0o600); err != nil {
			t.Fatal(err)
		}
		git(t, work, "add", ".")
		git(t, work, "commit", "-qm", fmt.Sprint(i))
	}
	for _, option := range []string{"--delta-base-offset", "--no-reuse-delta"} {
		base := filepath.Join(t.TempDir(), "p")
		cmd := exec.Command("git", "-C", work, "pack-objects", "-q", "--revs", option, base)
		cmd.Stdin = strings.NewReader("main\n")
		id, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		name := base + "-" + strings.TrimSpace(string(id))
		data, err := os.ReadFile(name + ".pack")
		if err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(git(t, work, "verify-pack", "-v", name+".pack"), "chain length"); n == 0 {
			t.Fatal("the pack has no deltas")
		}
		q, err := newRepo(t).Receive(bytes.NewReader(data), PushLimits{})
		if err != nil {
			t.Fatal(err)
		}
		ours, err := os.ReadFile(strings.TrimSuffix(q.pack, ".pack") + ".idx")
		theirs, theirErr := os.ReadFile(name + ".idx")
		if err != nil || theirErr != nil || !bytes.Equal(ours, theirs) {
			t.Errorf("%s: the index differs from git's: %v %v", option, err, theirErr)
		}
		q.Discard()
	}
}

// TestPackRefused: packs that unfold to more than they may, or are none, are refused
// as a push and leave nothing.
func TestPackRefused(t *testing.T) {
	limits := PushLimits{Pack: 1 << 20, Object: 4 << 20, Total: 32 << 20, Objects: 50}
	zeros := func(n int) io.Reader { return io.LimitReader(zeroReader{}, int64(n)) }
	cases := []struct {
		name, want string
		pack       func(p *packer)
	}{
		{"large object", "larger", func(p *packer) { p.object(plumbing.BlobObject, 5<<20, nil, zeros(5<<20)) }},
		{"large commit", "larger", func(p *packer) { p.object(plumbing.CommitObject, 2<<20, nil, zeros(2<<20)) }},
		{"large delta", "larger", func(p *packer) {
			p.whole(plumbing.BlobObject, "x")
			p.object(plumbing.OFSDeltaObject, 5<<20, []byte{1}, zeros(5<<20))
		}},
		{"more than stated", "exceeds", func(p *packer) { p.object(plumbing.BlobObject, 10, nil, zeros(3<<20)) }},
		{"less than stated", "has 3 bytes, not 10", func(p *packer) { p.object(plumbing.BlobObject, 10, nil, zeros(3)) }},
		{"overflowing length", "overflow", func(p *packer) { p.object(plumbing.BlobObject, 1<<62, nil, zeros(3)) }},
		{"large result of a delta", "larger", func(p *packer) {
			p.after(p.object(plumbing.BlobObject, 1<<20, nil, zeros(1<<20)), delta(1<<20, 5<<20, repeat(1<<20, 5<<20)))
		}},
		{"large commit by a delta", "larger", func(p *packer) {
			p.after(p.object(plumbing.CommitObject, 1<<19, nil, zeros(1<<19)), delta(1<<19, 2<<20, repeat(1<<19, 2<<20)))
		}},
		{"together", "unfolds to more", func(p *packer) {
			for range 11 {
				p.object(plumbing.BlobObject, 3<<20, nil, zeros(3<<20))
			}
		}},
		{"deltas together", "unfolds to more", func(p *packer) {
			at := p.object(plumbing.BlobObject, 1<<20, nil, zeros(1<<20))
			for i := range 11 {
				p.after(at, delta(1<<20, 3<<20, repeat(1<<20, 3<<20-1), insert(string(rune('a'+i)))))
			}
		}},
		{"long chain", "chain of deltas", func(p *packer) {
			at := p.whole(plumbing.BlobObject, "x")
			for i := range 12 {
				// Each is a megabyte of insertions that are nothing when packed.
				const n = 127 * 8000
				at = p.after(at, delta(i*n+1, (i+1)*n+1, bytes.Repeat(insert(strings.Repeat("y", 127)), 8000), repeat(1<<20, i*n+1)))
			}
		}},
		{"many copies", "unfolds to more", func(p *packer) {
			at := p.whole(plumbing.BlobObject, "x")
			p.after(at, delta(1, 100_000, bytes.Repeat(copyOf(0, 1), 100_000)))
		}},
		{"many objects", "more than the 50", func(p *packer) {
			for i := range 51 {
				p.whole(plumbing.BlobObject, fmt.Sprint(i))
			}
		}},
		{"unknown kind", "kind", func(p *packer) { p.whole(plumbing.ObjectType(5), "x") }},
		{"no base", "base", func(p *packer) {
			p.object(plumbing.REFDeltaObject, 4, make([]byte, 20), bytes.NewReader(delta(1, 1, copyOf(0, 1))[:4]))
		}},
		{"its own base", "", func(p *packer) {
			p.whole(plumbing.BlobObject, "x")
			p.object(plumbing.OFSDeltaObject, 4, []byte{0}, strings.NewReader("abcd"))
		}},
		{"delta for another base", "base of 7", func(p *packer) { p.after(p.whole(plumbing.BlobObject, "x"), delta(7, 1, copyOf(0, 1))) }},
		{"copy from behind the base", "to copy", func(p *packer) { p.after(p.whole(plumbing.BlobObject, "abc"), delta(3, 3, copyOf(1, 3))) }},
		{"more than the result", "are left", func(p *packer) { p.after(p.whole(plumbing.BlobObject, "abc"), delta(3, 2, copyOf(0, 3))) }},
		{"less than the result", "breaks off", func(p *packer) { p.after(p.whole(plumbing.BlobObject, "abc"), delta(3, 6, copyOf(0, 3))) }},
		{"command zero", "command", func(p *packer) { p.after(p.whole(plumbing.BlobObject, "abc"), delta(3, 3, []byte{0}, copyOf(0, 3))) }},
		{"cut delta", "breaks off", func(p *packer) { p.after(p.whole(plumbing.BlobObject, "abc"), []byte{0x80}) }},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			var p packer
			c.pack(&p)
			refused(t, p.end(), limits, c.want)
		})
	}
	var p packer
	p.whole(plumbing.BlobObject, "abc")
	good := p.end()
	t.Run("trailing bytes", func(t *testing.T) { refused(t, append(bytes.Clone(good), 'x'), limits, "bytes follow") })
	t.Run("cut", func(t *testing.T) { refused(t, good[:len(good)-25], limits, "damaged") })
	t.Run("wrong sum", func(t *testing.T) {
		refused(t, append(bytes.Clone(good[:len(good)-1]), ^good[len(good)-1]), limits, "checksum")
	})
	t.Run("no pack", func(t *testing.T) { refused(t, []byte("PICK"), limits, "damaged") })
	t.Run("long pack", func(t *testing.T) { refused(t, make([]byte, 2<<20), limits, "longer than") })
}

type zeroReader struct{}

func (zeroReader) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

func refused(t *testing.T, pack []byte, limits PushLimits, want string) {
	t.Helper()
	r := newRepo(t)
	q, err := r.Receive(bytes.NewReader(pack), limits)
	if !errors.Is(err, ErrPush) || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "%!") {
		t.Errorf("%v, want one about %q", err, want)
	}
	if err == nil {
		q.Discard()
	}
	if left, err := filepath.Glob(filepath.Join(r.Dir(), "tmp-push-*")); err != nil || len(left) > 0 {
		t.Errorf("left: %v %v", left, err)
	}
}

// TestPackBombMemory: two chains of deltas take turns, so that no cache of bases
// helps; little of a pack unfolds to much, in little memory.
func TestPackBombMemory(t *testing.T) {
	const size = 8 << 20
	var p packer
	var ends [2]int
	for i := range ends {
		ends[i] = p.object(plumbing.BlobObject, size, nil, io.LimitReader(zeroReader{}, size))
	}
	for i := range 20 {
		text := fmt.Sprintf("%08d", i)
		ends[i%2] = p.after(ends[i%2], delta(size, size, insert(text), repeat(size/2, size-8)))
	}
	pack := p.end()
	r := newRepo(t)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	q, err := r.Receive(bytes.NewReader(pack), PushLimits{})
	runtime.ReadMemStats(&after)
	if err != nil {
		t.Fatal(err)
	}
	q.Discard()
	if used := (after.TotalAlloc - before.TotalAlloc) >> 20; used > 32 {
		t.Errorf("a pack of %d kB took %d MiB of memory", len(pack)>>10, used)
	}
}

// TestUnreachedObjects: a pack may hold nothing but what the pushed refs need.
func TestUnreachedObjects(t *testing.T) {
	file := "content"
	good := treeOf("100644", "a", idOf(plumbing.BlobObject, file))
	deep := treeOf("40000", "d", idOf(plumbing.TreeObject, good))
	head := commitOf(idOf(plumbing.TreeObject, deep))
	tag := tagOf("commit", idOf(plumbing.CommitObject, head))
	tags := tagOf("tag", idOf(plumbing.TagObject, tag))
	link := treeOf("120000", "link", idOf(plumbing.BlobObject, file))
	hidden := commitOf(idOf(plumbing.TreeObject, link))
	needed := func(p *packer) {
		p.whole(plumbing.BlobObject, file)
		p.whole(plumbing.TreeObject, good)
		p.whole(plumbing.TreeObject, deep)
		p.whole(plumbing.CommitObject, head)
	}
	cases := []struct {
		name string
		ref  Hash
		pack func(p *packer)
		ok   bool
	}{
		{"all needed", idOf(plumbing.CommitObject, head), func(*packer) {}, true},
		{"tag of a tag", idOf(plumbing.TagObject, tags), func(p *packer) {
			p.whole(plumbing.TagObject, tag)
			p.whole(plumbing.TagObject, tags)
		}, true},
		{"another tag", idOf(plumbing.TagObject, tag), func(p *packer) {
			p.whole(plumbing.TagObject, tag)
			p.whole(plumbing.TagObject, tags)
		}, false},
		{"hidden commit", idOf(plumbing.CommitObject, head), func(p *packer) {
			p.whole(plumbing.TreeObject, link)
			p.whole(plumbing.CommitObject, hidden)
		}, false},
		{"hidden folder", idOf(plumbing.CommitObject, head), func(p *packer) { p.whole(plumbing.TreeObject, link) }, false},
		{"hidden file", idOf(plumbing.CommitObject, head), func(p *packer) { p.whole(plumbing.BlobObject, "pointer") }, false},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			r := newRepo(t)
			var p packer
			needed(&p)
			c.pack(&p)
			q, err := r.Receive(bytes.NewReader(p.end()), PushLimits{})
			if err != nil {
				t.Fatal(err)
			}
			defer q.Discard()
			var paths []string
			commit, err := q.Check(c.ref, func(path string, _ Hash) error { paths = append(paths, path); return nil })
			if err != nil || commit != idOf(plumbing.CommitObject, head) || !slices.Equal(paths, []string{"d/a"}) {
				t.Fatalf("check: %s %v %v", commit, paths, err)
			}
			if err := q.Accept(); (err == nil) != c.ok || err != nil && !errors.Is(err, ErrPush) {
				t.Fatalf("accept: %v", err)
			}
			if r.Has(c.ref) != c.ok || r.Has(idOf(plumbing.TreeObject, link)) {
				t.Errorf("accepted %t, the folder with a link %t", r.Has(c.ref), r.Has(idOf(plumbing.TreeObject, link)))
			}
		})
	}
	// What the repository holds already may come again.
	r := newRepo(t)
	for range 2 {
		var p packer
		needed(&p)
		q, err := r.Receive(bytes.NewReader(p.end()), PushLimits{})
		if err == nil {
			_, err = q.Check(idOf(plumbing.CommitObject, head), func(string, Hash) error { return nil })
			err = errors.Join(err, q.Accept())
			q.Discard()
		}
		if err != nil {
			t.Error(err)
		}
	}
}

// FuzzPack: whatever comes as a pack is a pack or is refused as a push.
func FuzzPack(f *testing.F) {
	var p packer
	at := p.whole(plumbing.BlobObject, "abcdef")
	p.after(at, delta(6, 9, copyOf(0, 6), insert("xyz")))
	p.whole(plumbing.CommitObject, commitOf(emptyTree))
	f.Add(p.end())
	f.Add([]byte("PACK\x00\x00\x00\x02\xff\xff\xff\xff"))
	scratch, err := os.Create(filepath.Join(f.TempDir(), "scratch"))
	if err != nil {
		f.Fatal(err)
	}
	defer scratch.Close()
	limits := PushLimits{Object: 1 << 20, Total: 4 << 20}.orDefaults()
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 20 { // the sum is right more often than by chance
			sum := sha1.Sum(data[:len(data)-20])
			data = append(bytes.Clone(data[:len(data)-20]), sum[:]...)
		}
		_, _, err := indexPack(bytes.NewReader(data), int64(len(data)), scratch, limits)
		if err != nil && !errors.Is(err, ErrPush) {
			t.Error(err)
		}
	})
}
