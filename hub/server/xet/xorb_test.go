package xet

import (
	"bytes"
	"errors"
	"io"
	"testing"
)

// TestCapturedXorb reads a xorb of hf_xet with every kind of compression.
func TestCapturedXorb(t *testing.T) {
	want, content := capturedXorb(t)
	var kept bytes.Buffer
	chunks, err := ReadXorb(bytes.NewReader(content), want, &kept)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(kept.Bytes(), content) {
		t.Errorf("kept %d bytes that differ from the %d sent", kept.Len(), len(content))
	}
	schemes := map[byte]int{}
	for _, c := range chunks {
		schemes[content[c.Offset+4]]++
	}
	if schemes[schemeNone] == 0 || schemes[schemeLZ4] == 0 || schemes[schemeGrouped] == 0 {
		t.Errorf("compression of the chunks: %v; the capture should have every kind", schemes)
	}
}

// TestXorbFooter reads a xorb with a footer, which some clients send.
func TestXorbFooter(t *testing.T) {
	want, content := capturedXorb(t)
	var kept bytes.Buffer
	withFooter := append(append([]byte{}, content...), "XETBLOB\x01 and whatever follows"...)
	if _, err := ReadXorb(bytes.NewReader(withFooter), want, &kept); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(kept.Bytes(), content) {
		t.Error("the footer was kept")
	}
}

// TestGroupedLengths holds byte grouping for lengths that four does not divide.
func TestGroupedLengths(t *testing.T) {
	for length := 1; length < 70; length++ {
		data := make([]byte, length)
		for i := range data {
			data[i] = byte(i * 7)
		}
		var groups [4][]byte
		for i, b := range data {
			groups[i%4] = append(groups[i%4], b)
		}
		body := frame(t, bytes.Join(groups[:], nil))
		if _, err := ReadXorb(bytes.NewReader(packed(schemeGrouped, length, len(body), body)), hashOf(data), nil); err != nil {
			t.Errorf("%d bytes: %v", length, err)
		}
	}
}

func TestXorbRefused(t *testing.T) {
	data := bytes.Repeat([]byte("abcd"), 1000)
	body := frame(t, data)
	whole := packed(schemeLZ4, len(data), len(body), body)
	bomb := frame(t, make([]byte, 8<<20)) // 8 MiB of zeros in a chunk that says less
	corrupt := append([]byte{}, whole...)
	corrupt[len(corrupt)/2] ^= 1
	cases := []struct {
		name    string
		content []byte
		want    error
	}{
		{"empty", nil, ErrFormat},
		{"no chunks but a footer", []byte("XETBLOB\x01"), ErrFormat},
		{"header cut", whole[:5], ErrTruncated},
		{"chunk cut", whole[:len(whole)-1], ErrTruncated},
		{"second chunk cut", append(append([]byte{}, whole...), whole[:30]...), ErrTruncated},
		{"version", append([]byte{1}, whole[1:]...), ErrFormat},
		{"compression", packed(3, len(data), len(body), body), ErrFormat},
		{"chunk too large", packed(schemeLZ4, MaxChunk+1, len(body), body), ErrTooLarge},
		{"packed chunk too large", packed(schemeLZ4, len(data), MaxChunk+1, body), ErrTooLarge},
		{"empty chunk", packed(schemeNone, 0, 0, nil), ErrFormat},
		{"raw size says more", packed(schemeLZ4, len(data)+1, len(body), body), ErrChunkSize},
		{"raw size says less", packed(schemeLZ4, len(data)-1, len(body), body), ErrChunkSize},
		{"plain size lies", packed(schemeNone, len(data)-1, len(data), data), ErrChunkSize},
		{"bomb", packed(schemeLZ4, MaxChunk, len(bomb), bomb), ErrChunkSize},
		{"no frame", packed(schemeLZ4, len(data), 100, bytes.Repeat([]byte{9}, 100)), ErrFormat},
		{"frame cut", packed(schemeLZ4, len(data), len(body)-8, body[:len(body)-8]), ErrFormat},
		{"wrong chunk", plain(append([]byte("x"), data[1:]...)), ErrXorbHash},
		{"wrong order", append(plain([]byte("b")), plain([]byte("a"))...), ErrXorbHash},
		{"one chunk more", append(append([]byte{}, whole...), whole...), ErrXorbHash},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			_, err := ReadXorb(bytes.NewReader(c.content), hashOf(data), nil)
			if !errors.Is(err, c.want) {
				t.Errorf("error %v, want %v", err, c.want)
			}
		})
	}
	if _, err := ReadXorb(bytes.NewReader(corrupt), hashOf(data), nil); !isInvalid(err) {
		t.Errorf("corrupt chunk: error %v", err)
	}
}

// TestXorbWithoutEnd sends chunks for ever: the limits end it, of bytes for large
// chunks and of their number for small ones.
func TestXorbWithoutEnd(t *testing.T) {
	for name, piece := range map[string][]byte{"large": plain(make([]byte, MaxChunk)), "small": plain([]byte("x"))} {
		_, err := ReadXorb(&endless{piece: piece}, Hash{}, io.Discard)
		if !errors.Is(err, ErrTooLarge) {
			t.Errorf("%s chunks: error %v, want %v", name, err, ErrTooLarge)
		}
	}
}
