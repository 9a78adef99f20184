package telemetry

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// eventWriter writes a file of TensorBoard: records with checksums, each a message Event
// of TensorFlow's event.proto. It has no buffer, so that a killed process loses nothing.
type eventWriter struct {
	file appendFile
}

// newEventWriter makes a file whose name sorts behind those of earlier processes.
func newEventWriter(dir string, now time.Time) (*eventWriter, error) {
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return nil, err
	}
	name := fmt.Sprintf("events.out.tfevents.%010d.%09d.mes", now.Unix(), now.Nanosecond())
	f, err := os.OpenFile(filepath.Join(dir, name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return nil, err
	}
	return &eventWriter{appendFile{File: f}}, nil
}

// Field numbers of event.proto and summary.proto.
const (
	eventWallTime, eventStep, eventVersion, eventSummary, eventSession  = 1, 2, 3, 5, 7
	summaryValue                                                        = 1
	valueTag, valueSimple, valueHistogram                               = 1, 2, 5
	histMin, histMax, histNum, histSum, histSquares, histLimit, histBin = 1, 2, 3, 4, 5, 6, 7
	sessionStatus, sessionStart                                         = 1, 1
)

// begin writes the version, and a mark by which TensorBoard forgets what earlier files
// say of this step and later ones.
func (w *eventWriter) begin(step int64, now time.Time) error {
	version := event(now, 0)
	version = protowire.AppendTag(version, eventVersion, protowire.BytesType)
	version = protowire.AppendString(version, "brain.Event:2")
	if err := w.write(version); err != nil {
		return err
	}
	start := event(now, step)
	start = appendMessage(start, eventSession, protowire.AppendVarint(protowire.AppendTag(nil, sessionStatus, protowire.VarintType), sessionStart))
	return w.write(start)
}

// add writes a record as scalars, and the use of the encoders as a histogram over their
// indices.
func (w *eventWriter) add(r *Record) error {
	var summary []byte
	scalar := func(tag string, v float64) {
		value := protowire.AppendString(protowire.AppendTag(nil, valueTag, protowire.BytesType), tag)
		value = protowire.AppendFixed32(protowire.AppendTag(value, valueSimple, protowire.Fixed32Type), math.Float32bits(float32(v)))
		summary = appendMessage(summary, summaryValue, value)
	}
	for _, s := range r.scalars() {
		scalar(s.name, s.value)
	}
	for _, key := range slices.Sorted(maps.Keys(r.Extra)) {
		if v, ok := number(r.Extra[key]); ok {
			scalar(key, v)
		}
	}
	if len(r.EncoderUse) > 0 {
		value := protowire.AppendString(protowire.AppendTag(nil, valueTag, protowire.BytesType), "encoder_use")
		summary = appendMessage(summary, summaryValue, appendMessage(value, valueHistogram, histogram(r.EncoderUse)))
	}
	return w.write(appendMessage(event(r.Time, r.Step), eventSummary, summary))
}

// event begins a message Event.
func event(at time.Time, step int64) []byte {
	b := protowire.AppendTag(nil, eventWallTime, protowire.Fixed64Type)
	b = protowire.AppendFixed64(b, math.Float64bits(float64(at.UnixMilli())/1000))
	if step == 0 {
		return b // proto3 leaves out zeros
	}
	return protowire.AppendVarint(protowire.AppendTag(b, eventStep, protowire.VarintType), uint64(step))
}

// histogram makes a message HistogramProto in which bucket i holds what index i has.
func histogram(weights []float64) []byte {
	var num, sum, squares float64
	var limits, bins []byte
	for i, weight := range weights {
		x := float64(i)
		num, sum, squares = num+weight, sum+weight*x, squares+weight*x*x
		limits = protowire.AppendFixed64(limits, math.Float64bits(x+0.5))
		bins = protowire.AppendFixed64(bins, math.Float64bits(weight))
	}
	var b []byte
	for _, field := range []struct {
		number protowire.Number
		value  float64
	}{{histMin, -0.5}, {histMax, float64(len(weights)) - 0.5}, {histNum, num}, {histSum, sum}, {histSquares, squares}} {
		if math.Float64bits(field.value) != 0 {
			b = protowire.AppendFixed64(protowire.AppendTag(b, field.number, protowire.Fixed64Type), math.Float64bits(field.value))
		}
	}
	return appendMessage(appendMessage(b, histLimit, limits), histBin, bins)
}

func appendMessage(b []byte, field protowire.Number, message []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(b, field, protowire.BytesType), message)
}

// write frames a message: length, its checksum, the bytes, their checksum.
func (w *eventWriter) write(message []byte) error {
	b := binary.LittleEndian.AppendUint64(make([]byte, 0, len(message)+16), uint64(len(message)))
	b = binary.LittleEndian.AppendUint32(b, maskedCRC(b))
	b = append(b, message...)
	b = binary.LittleEndian.AppendUint32(b, maskedCRC(message))
	return w.file.append(b)
}

// maskedCRC is the CRC-32C of TensorFlow's record files, rotated and shifted so that the
// checksum of data which holds checksums stays good.
func maskedCRC(data []byte) uint32 {
	crc := crc32.Checksum(data, crc32.MakeTable(crc32.Castagnoli))
	return (crc>>15 | crc<<17) + 0xa282ead8
}
