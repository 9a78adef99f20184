package ckpt

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/mamba-encoder-swarm/mes/hub/safetensors"
)

// format names this layout. A manifest of another one is refused, never deleted.
const format = "mes-checkpoint/1"

// errFormat says that a sound manifest is of another layout.
var errFormat = errors.New("written in another format")

// manifest is a checkpoint as its file has it.
type manifest struct {
	Format  string          `json:"format"`
	Step    int64           `json:"step"`
	Time    time.Time       `json:"time"`
	Loss    *float64        `json:"loss"` // nil is none
	Stage   string          `json:"stage,omitempty"`
	Meta    json.RawMessage `json:"meta,omitempty"`
	Tensors []entry         `json:"tensors"`
}

// entry is a tensor and where its bytes are.
type entry struct {
	Name   string `json:"name"`
	DType  string `json:"dtype"`
	Shape  []int  `json:"shape"`
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"`
}

// envelope is the file: the manifest and the sha256 of its bytes.
type envelope struct {
	SHA256     string          `json:"sha256"`
	Checkpoint json.RawMessage `json:"checkpoint"`
}

// hashOf returns the name of an object with these bytes.
func hashOf(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// newManifest describes a snapshot, but for the hashes.
func newManifest(s *Snapshot, now time.Time) (*manifest, error) {
	m := &manifest{Format: format, Step: s.Step, Stage: s.Stage, Time: now.UTC().Round(time.Millisecond), Tensors: make([]entry, len(s.Tensors))}
	if len(s.Meta) > 0 {
		var compact bytes.Buffer
		if err := json.Compact(&compact, s.Meta); err != nil {
			return nil, fmt.Errorf("meta is not JSON: %w", err)
		}
		m.Meta = compact.Bytes()
	}
	if !math.IsNaN(s.Loss) && !math.IsInf(s.Loss, 0) {
		loss := s.Loss // a pointer into the snapshot would keep its tensors
		m.Loss = &loss
	}
	for i, t := range s.Tensors {
		shape := t.Shape
		if shape == nil {
			shape = []int{} // a scalar's shape is [] in the file
		}
		m.Tensors[i] = entry{Name: t.Name, DType: t.DType, Shape: shape, Bytes: int64(len(t.Data)), SHA256: noHash}
	}
	return m, m.check()
}

// noHash stands for a hash that is still to be taken.
var noHash = strings.Repeat("0", 2*sha256.Size)

// check says what is wrong with a manifest by itself.
func (m *manifest) check() error {
	if m.Step < 0 {
		return fmt.Errorf("step %d is below 0", m.Step)
	}
	seen := make(map[string]bool, len(m.Tensors))
	for _, e := range m.Tensors {
		if seen[e.Name] {
			return fmt.Errorf("two tensors are named %q", e.Name)
		}
		seen[e.Name] = true
		if err := e.check(); err != nil {
			return fmt.Errorf("tensor %q: %w", e.Name, err)
		}
	}
	return nil
}

// check says what is wrong with a tensor's entry.
func (e *entry) check() error {
	if e.Name == "" || !utf8.ValidString(e.Name) {
		return errors.New("the name is empty or not UTF-8")
	}
	bits := int64(safetensors.DType(e.DType).Bits())
	if bits == 0 {
		return fmt.Errorf("unknown dtype %q", e.DType)
	}
	if e.Shape == nil {
		return errors.New("there is no shape")
	}
	for _, dim := range e.Shape {
		if dim < 0 {
			return fmt.Errorf("shape %v has a negative dimension", e.Shape)
		}
		if dim > 0 && bits > math.MaxInt64/int64(dim) {
			return fmt.Errorf("shape %v is too large", e.Shape)
		}
		bits *= int64(dim)
	}
	if bits%8 != 0 || bits/8 != e.Bytes {
		return fmt.Errorf("%d bytes do not hold %s %v", e.Bytes, e.DType, e.Shape)
	}
	if !isHash(e.SHA256) {
		return fmt.Errorf("%q is no sha256", e.SHA256)
	}
	return nil
}

// isHash tells whether a text can be the name of an object.
func isHash(s string) bool {
	return len(s) == len(noHash) && strings.Trim(s, "0123456789abcdef") == ""
}

// encode returns the file's bytes.
func (m *manifest) encode() ([]byte, error) {
	body, err := json.Marshal(m)
	if err != nil {
		return nil, err
	}
	return []byte(fmt.Sprintf("{\"sha256\":%q,\"checkpoint\":%s}\n", hashOf(body), body)), nil
}

// parseManifest reads a file's bytes.
func parseManifest(data []byte) (*manifest, error) {
	var file envelope
	if err := decodeStrict(data, &file); err != nil {
		return nil, err
	}
	if hashOf(file.Checkpoint) != file.SHA256 {
		return nil, errors.New("its checksum differs")
	}
	var head struct {
		Format string `json:"format"`
	}
	if err := json.Unmarshal(file.Checkpoint, &head); err != nil {
		return nil, err
	}
	if head.Format != format {
		return nil, fmt.Errorf("%w: %q, this program reads %q", errFormat, head.Format, format)
	}
	m := &manifest{}
	if err := decodeStrict(file.Checkpoint, m); err != nil {
		return nil, err
	}
	return m, m.check()
}

// decodeStrict decodes one JSON value with known fields alone.
func decodeStrict(data []byte, v any) error {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		return err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something follows the end")
	}
	return nil
}

// info describes the checkpoint for callers.
func (m *manifest) info() Info {
	info := Info{Step: m.Step, Time: m.Time, Loss: math.NaN(), Tensors: len(m.Tensors)}
	if m.Loss != nil {
		info.Loss = *m.Loss
	}
	for _, e := range m.Tensors {
		info.Bytes += e.Bytes
	}
	return info
}
