package pickle

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

func put(t *testing.T, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "x.bin")
	if err := os.WriteFile(path, content, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// wantFault checks that an error is an *Error of the kind and names the file.
func wantFault(t *testing.T, err, kind error, path string) {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) || !errors.Is(err, kind) {
		t.Errorf("%s: got %v, want %v", path, err, kind)
		return
	}
	if e.Path != path || !strings.Contains(err.Error(), path) {
		t.Errorf("error %q does not name %s", err, path)
	}
}

// entry is one file of an archive.
type entry struct{ name, content string }

// archived returns a zip file of stored entries.
func archived(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := zip.NewWriter(&buf)
	for _, e := range entries {
		f, err := w.CreateHeader(&zip.FileHeader{Name: e.name, Method: zip.Store})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write([]byte(e.content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func wantOpenFault(t *testing.T, content []byte, kind error) {
	t.Helper()
	path := put(t, content)
	f, err := Open(path)
	if err == nil {
		f.Close()
	}
	wantFault(t, err, kind, path)
}

// wantPickleFault runs a pickle in an archive with one storage "0" of 16 bytes.
func wantPickleFault(t *testing.T, code string, kind error) {
	t.Helper()
	wantOpenFault(t, archived(t, entry{"x/data.pkl", code}, entry{"x/data/0", strings.Repeat("a", 16)}), kind)
}

// The parts of a pickle, as opcodes.

func text(s string) string {
	return "X" + string(binary.LittleEndian.AppendUint32(nil, uint32(len(s)))) + s
}

func num(n int64) string {
	return "\x8a\x08" + string(binary.LittleEndian.AppendUint64(nil, uint64(n)))
}

func tup(items ...string) string { return "(" + strings.Join(items, "") + "t" }

func named(module, name string) string { return "c" + module + "\n" + name + "\n" }

func nums(n ...int64) string {
	items := make([]string, len(n))
	for i := range n {
		items[i] = num(n[i])
	}
	return tup(items...)
}

func stored(class, key string, n int64) string {
	return tup(text("storage"), named("torch", class), text(key), text("cpu"), num(n)) + "Q"
}

func rebuilt(storage string, offset int64, size, stride string) string {
	return named("torch._utils", "_rebuild_tensor_v2") +
		tup(storage, num(offset), size, stride, "\x89", named("collections", "OrderedDict")+")R") + "R"
}

// state is a whole pickle of a dict with one entry.
func state(value string) string { return "\x80\x02}" + text("a") + value + "s." }

// TestHandmade makes sure that the parts above are a valid file when nothing is
// wrong with it.
func TestHandmade(t *testing.T) {
	code := state(rebuilt(stored("FloatStorage", "0", 4), 0, nums(2, 2), nums(1, 2)))
	f, err := Open(put(t, archived(t, entry{"x/data.pkl", code}, entry{"x/data/0", "aaaabbbbccccdddd"})))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	a, _ := f.Tensor("a")
	if got, err := a.Bytes(); string(got) != "aaaaccccbbbbdddd" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestErrNotArchive(t *testing.T) {
	for _, content := range []string{"", "x", "safetensors", strings.Repeat("\x00", 1000)} {
		wantOpenFault(t, []byte(content), ErrNotArchive)
	}
}

func TestErrLegacy(t *testing.T) {
	tar := make([]byte, 1024)
	copy(tar[257:], "ustar")
	wantOpenFault(t, tar, ErrLegacy)
	wantOpenFault(t, []byte("\x80\x02\x8a\x0a1234567890."), ErrLegacy)
}

func TestErrArchive(t *testing.T) {
	wantOpenFault(t, []byte("PK\x03\x04 and no more"), ErrArchive)

	// The central directory gives data/0 more bytes than the file has.
	good := archived(t, entry{"x/data.pkl", "\x80\x02}."}, entry{"x/data/0", "aaaa"})
	at := bytes.LastIndex(good, []byte("PK\x01\x02"))
	binary.LittleEndian.PutUint32(good[at+20:], 1<<30) // compressed size
	binary.LittleEndian.PutUint32(good[at+24:], 1<<30) // size
	wantOpenFault(t, good, ErrArchive)
}

func TestErrLayout(t *testing.T) {
	wantOpenFault(t, archived(t), ErrLayout)
	wantOpenFault(t, archived(t, entry{"x/code.py", "1"}), ErrLayout)
	wantOpenFault(t, archived(t, entry{"x/y/data.pkl", "."}), ErrLayout)
	wantOpenFault(t, archived(t, entry{"x/data.pkl", "."}, entry{"y/data.pkl", "."}), ErrLayout)
	wantOpenFault(t, archived(t, entry{"x/data.pkl", "."}, entry{"x/data.pkl", "."}), ErrLayout)
}

// TestErrCompressed packs 64 MiB of zeros: refused without being unpacked.
func TestErrCompressed(t *testing.T) {
	var buf bytes.Buffer
	w := zip.NewWriter(&buf)
	f, err := w.Create("x/data.pkl")
	if err != nil {
		t.Fatal(err)
	}
	zeros := make([]byte, 1<<20)
	for range 64 {
		if _, err := f.Write(zeros); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	wantFrugal(t, func() { wantOpenFault(t, buf.Bytes(), ErrCompressed) })
}

// wantFrugal checks that a refusal costs little memory.
func wantFrugal(t *testing.T, refuse func()) {
	t.Helper()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	refuse()
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > 1<<20 {
		t.Errorf("refusing allocated %d bytes", n)
	}
}

// TestErrOverlap lets two entries of the central directory name the same bytes.
func TestErrOverlap(t *testing.T) {
	z := archived(t, entry{"x/data.pkl", "\x80\x02}."}, entry{"x/data/0", "aaaa"}, entry{"x/data/1", "bbbb"})
	first := bytes.Index(z, []byte("x/data/0")) - 30
	at := bytes.LastIndex(z, []byte("PK\x01\x02"))
	binary.LittleEndian.PutUint32(z[at+42:], uint32(first))
	wantOpenFault(t, z, ErrOverlap)
}

func TestErrByteOrder(t *testing.T) {
	wantOpenFault(t, archived(t, entry{"x/data.pkl", "\x80\x02}."}, entry{"x/byteorder", "big"}), ErrByteOrder)
}

func TestErrPickleSize(t *testing.T) {
	content := archived(t, entry{"x/data.pkl", strings.Repeat("N", maxPickle+1)})
	path := put(t, content)
	wantFrugal(t, func() {
		_, err := Open(path)
		wantFault(t, err, ErrPickleSize, path)
	})
}

func TestErrStorage(t *testing.T) {
	for _, s := range []string{
		stored("FloatStorage", "1", 4), // no such entry
		stored("FloatStorage", "../x/data/0", 4),
		stored("FloatStorage", "0", 5), // beyond the entry, and into the next
		stored("FloatStorage", "0", 3),
		stored("DoubleStorage", "0", 1<<61),
		stored("DoubleStorage", "0", 1<<61+2), // 16 bytes, modulo 2^64
	} {
		wantPickleFault(t, state(rebuilt(s, 0, nums(1), nums(1))), ErrStorage)
	}
}

func TestErrBounds(t *testing.T) {
	s := stored("FloatStorage", "0", 4)
	for _, v := range []string{
		rebuilt(s, 0, nums(5), nums(1)),
		rebuilt(s, 4, nums(1), nums(1)),
		rebuilt(s, 4, nums(), nums()),
		rebuilt(s, 1, nums(4), nums(1)),
		rebuilt(s, 0, nums(2), nums(4)),
		rebuilt(s, 0, nums(2, 2), nums(2, 2)),
		rebuilt(s, 1<<62, nums(1), nums(1)),
		rebuilt(s, 0, nums(2), nums(1<<62)),
		rebuilt(s, 0, nums(1<<62, 4), nums(1, 1)),
		rebuilt(s, 0, nums(1<<32, 1<<32), nums(0, 0)),
		rebuilt(s, 0, nums(5, 5), nums(1<<62, 1<<62)),
	} {
		wantPickleFault(t, state(v), ErrBounds)
	}
}

func TestErrExpanded(t *testing.T) {
	wantPickleFault(t, state(rebuilt(stored("FloatStorage", "0", 4), 0, nums(1<<50), nums(0))), ErrExpanded)
}

// TestErrAmplified uses one storage a thousand times over.
func TestErrAmplified(t *testing.T) {
	code := "\x80\x02}("
	for i := range 1000 {
		code += text(strings.Repeat("a", i)) + rebuilt(stored("FloatStorage", "0", 4), 0, nums(4), nums(1))
	}
	wantPickleFault(t, code+"u.", ErrAmplified)
}

func TestErrNoStateDict(t *testing.T) {
	tensor := rebuilt(stored("FloatStorage", "0", 4), 0, nums(4), nums(1))
	for _, code := range []string{
		"\x80\x02N.", "\x80\x02].", "\x80\x02" + tensor + ".", state(num(1)), state("}"),
		"\x80\x02}" + num(1) + tensor + "s.",
		"\x80\x02}(" + text("a") + tensor + text("a") + tensor + "u.",
	} {
		wantPickleFault(t, code, ErrNoStateDict)
	}
}

// TestErrOpcode tries every opcode of pickle that is not on the list.
func TestErrOpcode(t *testing.T) {
	allowed := "N\x88\x89KMJ\x8aGX)t\x85\x86\x87qrhjaesubRcQ]}(\x80."
	refused := 0
	for op := range 256 {
		if !strings.Contains(allowed, string([]byte{byte(op)})) {
			refused++
			_, err := run([]byte{0x80, 2, byte(op)}, nil)
			if !errors.Is(err, ErrOpcode) {
				t.Errorf("opcode %#02x: got %v, want %v", op, err, ErrOpcode)
			}
		}
	}
	if refused != 256-len(allowed) {
		t.Errorf("%d opcodes refused", refused)
	}
	for _, code := range []string{"\x80\x05}.", "\x80\x02i os\nsystem\n.", "\x80\x02o.", "\x80\x02\x81.", "\x80\x02\x93.", "\x80\x02\x82\x01."} {
		wantPickleFault(t, code, ErrOpcode)
	}
}

func TestErrGlobal(t *testing.T) {
	for _, name := range [][2]string{
		{"os", "system"}, {"posix", "system"}, {"builtins", "eval"}, {"__builtin__", "exec"}, {"subprocess", "Popen"},
		{"torch.hub", "load"}, {"torch", "load"}, {"torch._utils", "_rebuild_sparse_tensor"}, {"collections", "OrderedDict.fromkeys"},
		{"collections OrderedDict", ""}, {"", "collections OrderedDict"}, {"torch", "QInt8Storage"}, {"torch", "ComplexDoubleStorage"},
	} {
		wantPickleFault(t, state(named(name[0], name[1])+tup(text("true"))+"R"), ErrGlobal)
	}
}

func TestErrCall(t *testing.T) {
	s := stored("FloatStorage", "0", 4)
	untyped := tup(text("storage"), named("torch.storage", "UntypedStorage"), text("0"), text("cpu"), num(16)) + "Q"
	v2, v3 := named("torch._utils", "_rebuild_tensor_v2"), named("torch._utils", "_rebuild_tensor_v3")
	for _, value := range []string{
		rebuilt(s, -1, nums(1), nums(1)),
		rebuilt(s, 0, nums(-1), nums(1)),
		rebuilt(s, 0, nums(1), nums(-1)),
		rebuilt(s, 0, nums(1, 1), nums(1)),
		rebuilt(s, 0, num(1), nums(1)),
		rebuilt(num(1), 0, nums(1), nums(1)),
		rebuilt(untyped, 0, nums(1), nums(1)),
		v2 + tup(s, num(0)) + "R",
		v2 + tup(s, num(0), nums(1), nums(1), "\x89", "N", "}"+text("neg")+"\x88s") + "R",
		v3 + tup(untyped, num(0), nums(1), nums(1), "\x89", "N") + "R",
		v3 + tup(untyped, num(0), nums(1), nums(1), "\x89", "N", num(1)) + "R",
		v3 + tup(s, num(0), nums(1), nums(1), "\x89", "N", named("torch", "uint16")) + "R",
		named("torch._utils", "_rebuild_parameter") + tup(num(1), "\x88", "N") + "R",
		named("torch._utils", "_rebuild_parameter") + tup() + "R",
		named("collections", "OrderedDict") + tup(num(1)) + "R",
		named("collections", "OrderedDict") + ")RNb",
		num(1) + "Q",
		tup(text("storage"), num(1), text("0"), text("cpu"), num(4)) + "Q",
		tup(text("module"), named("torch", "FloatStorage"), text("0"), text("cpu"), num(4)) + "Q",
		stored("FloatStorage", "0", -4),
	} {
		wantPickleFault(t, state(value), ErrCall)
	}
}

// TestErrTooDeep nests a million tuples, a million lists, and marks.
func TestErrTooDeep(t *testing.T) {
	const n = 1_000_000
	for _, code := range []string{
		state(")" + strings.Repeat("\x85", n)),
		state(strings.Repeat("]", 2) + strings.Repeat("q\x00]h\x00a", n)),
		state(strings.Repeat("(", n)),
		state("]" + strings.Repeat("q\x00h\x00a", n)), // a list inside itself
	} {
		wantPickleFault(t, code, ErrTooDeep)
	}
}

func TestErrTooLong(t *testing.T) {
	wantPickleFault(t, "\x80\x02"+strings.Repeat("N", maxSteps)+".", ErrTooLong)
}

func TestErrPickle(t *testing.T) {
	for _, code := range []string{
		"", "\x80", "\x80\x02", "\x80\x02.", "\x80\x02NN.", "\x80\x02(N.", "\x80\x02N.N",
		"\x80\x02t", "\x80\x02\x85", "\x80\x02N(\x85", "\x80\x02R", "\x80\x02NNR", "\x80\x02Na", "\x80\x02NNa", "\x80\x02(Na",
		"\x80\x02}Na", "\x80\x02]NNs", "\x80\x02}(Nu", "\x80\x02]Nb", "\x80\x02q\x00",
		"\x80\x02h\x00", "\x80\x02j\xff\xff\xff\xff", "\x80\x02Q",
		"\x80\x02X\xff\xff\xff\xffabc", "\x80\x02X\x01\x00\x00\x00\xff", "\x80\x02J\x00", "\x80\x02G\x00", "\x80\x02\x8a\x09123456789",
		"\x80\x02cos\nsystem", "\x80\x02c" + strings.Repeat("a", 1000) + "\nb\n",
	} {
		wantPickleFault(t, code, ErrPickle)
	}
}

// TestHugeMemo stores under the highest number: the memo grows with the pickle, not
// with the numbers in it.
func TestHugeMemo(t *testing.T) {
	wantFrugal(t, func() {
		v, err := run([]byte("\x80\x02}r\xff\xff\xff\xff."), nil)
		if _, ok := v.(*dict); !ok || err != nil {
			t.Errorf("got %v, %v", v, err)
		}
	})
}

func TestLong(t *testing.T) {
	for code, want := range map[string]int64{
		"\x8a\x00": 0, "\x8a\x01\x7f": 127, "\x8a\x01\x80": -128, "\x8a\x02\xff\x00": 255,
		"\x8a\x05\x00\x00\x00\x00\x01": 1 << 32, "\x8a\x08\xff\xff\xff\xff\xff\xff\xff\xff": -1,
		"J\xff\xff\xff\xff": -1, "K\xff": 255, "M\xff\xff": 65535,
	} {
		if got, err := run([]byte(code+"."), nil); got != want || err != nil {
			t.Errorf("%q: got %v, %v; want %d", code, got, err, want)
		}
	}
}
