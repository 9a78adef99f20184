package data

import "encoding/binary"

// idBlock is how many ids are decoded at a time.
const idBlock = 1024

// readIDs decodes ids of a width from off on.
func (m *mapping) readIDs(ids []int32, off int64, width int) error {
	var buf [4 * idBlock]byte
	for len(ids) > 0 {
		n := min(len(ids), idBlock)
		b := buf[:n*width]
		if err := m.readAt(b, off); err != nil {
			return err
		}
		if width == 2 {
			for i := range ids[:n] {
				ids[i] = int32(binary.LittleEndian.Uint16(b[2*i:]))
			}
		} else {
			for i := range ids[:n] {
				ids[i] = int32(binary.LittleEndian.Uint32(b[4*i:]))
			}
		}
		ids, off = ids[n:], off+int64(len(b))
	}
	return nil
}
