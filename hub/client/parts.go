package client

import (
	"encoding/json"
	"os"
	"sync"
	"time"
)

// parts keeps what of a file is there: how many bytes from the start of each chunk.
type parts struct {
	mu    sync.Mutex
	grown *sync.Cond
	size  int64
	chunk int64
	have  []int64 // bytes of each chunk
	sum   int64   // of have
	first int     // the first chunk that is not complete
	ended bool    // nothing more will come

	saved time.Time
}

// sidecar is the file beside a part: which bytes of it are there.
type sidecar struct {
	Version int     `json:"version"`
	ETag    string  `json:"etag"`
	Size    int64   `json:"size"`
	Chunk   int64   `json:"chunk"`
	Have    []int64 `json:"have"`
}

// newParts begins a file of which the first prefix bytes are there.
func newParts(size, chunk, prefix int64) *parts {
	p := &parts{size: size, chunk: chunk, have: make([]int64, (size+chunk-1)/chunk)}
	p.grown = sync.NewCond(&p.mu)
	for i := range p.have {
		p.have[i] = max(0, min(prefix-int64(i)*chunk, p.length(i)))
		p.sum += p.have[i]
	}
	return p
}

// readParts continues a file whose temporary copy has length bytes. data is its
// sidecar, nil if there is none; then what is there was written in order.
func readParts(data []byte, etag string, size, chunk, length int64) *parts {
	if length > size {
		return newParts(size, chunk, 0)
	}
	if data == nil {
		return newParts(size, chunk, length)
	}
	var s sidecar
	if json.Unmarshal(data, &s) != nil || s.Version != 1 || s.ETag != etag || s.Size != size || s.Chunk < 1<<10 ||
		int64(len(s.Have)) != (size+s.Chunk-1)/s.Chunk {
		return newParts(size, chunk, 0)
	}
	p := newParts(size, s.Chunk, 0)
	for i, n := range s.Have {
		if n < 0 || n > p.length(i) || n > 0 && int64(i)*s.Chunk+n > length {
			return newParts(size, chunk, 0)
		}
		p.have[i] = n
		p.sum += n
	}
	return p
}

// length is the number of bytes of chunk i.
func (p *parts) length(i int) int64 { return min(p.chunk, p.size-int64(i)*p.chunk) }

// add notes n more bytes of chunk i.
func (p *parts) add(i int, n int64) {
	p.mu.Lock()
	p.have[i] += n
	p.sum += n
	p.mu.Unlock()
	p.grown.Broadcast()
}

// missing lists the chunks that are not complete.
func (p *parts) missing() []int {
	p.mu.Lock()
	defer p.mu.Unlock()
	var list []int
	for i, n := range p.have {
		if n < p.length(i) {
			list = append(list, i)
		}
	}
	return list
}

// rest is the range of bytes that chunk i lacks.
func (p *parts) rest(i int) (from, to int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	start := int64(i) * p.chunk
	return start + p.have[i], start + p.length(i)
}

// done is the number of bytes that are there.
func (p *parts) done() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.sum
}

// prefix is the number of bytes without a hole from the start.
func (p *parts) prefix() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.unbroken()
}

// unbroken is prefix for those who hold mu.
func (p *parts) unbroken() int64 {
	for p.first < len(p.have) && p.have[p.first] == p.length(p.first) {
		p.first++
	}
	if p.first == len(p.have) {
		return p.size
	}
	return int64(p.first)*p.chunk + p.have[p.first]
}

// dropHoles forgets what lies behind the first hole.
func (p *parts) dropHoles() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sum = p.unbroken()
	for i := p.first + 1; i < len(p.have); i++ {
		p.have[i] = 0
	}
}

// beyond waits until more than pos bytes are there without a hole, and returns
// how many; or until nothing more comes.
func (p *parts) beyond(pos int64) int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		if n := p.unbroken(); n > pos || p.ended {
			return n
		}
		p.grown.Wait()
	}
}

// end says that nothing more will come.
func (p *parts) end() {
	p.mu.Lock()
	p.ended = true
	p.mu.Unlock()
	p.grown.Broadcast()
}

// saveInterval is how often a sidecar is written at most.
const saveInterval = time.Second / 2

// save writes the sidecar of a file with more than one chunk, at most every
// saveInterval unless now.
func (p *parts) save(root *os.Root, name, etag string, now bool) error {
	if len(p.have) < 2 {
		return nil
	}
	p.mu.Lock()
	if !now && time.Since(p.saved) < saveInterval {
		p.mu.Unlock()
		return nil
	}
	p.saved = time.Now()
	data, err := json.Marshal(sidecar{Version: 1, ETag: etag, Size: p.size, Chunk: p.chunk, Have: p.have})
	p.mu.Unlock()
	if err != nil {
		return err
	}
	return writeWhole(root, name, data)
}
