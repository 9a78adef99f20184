package tokenizer

// maxCachedPiece bounds the pieces that an encoder remembers, in bytes.
const maxCachedPiece = 64

// piece appends the tokens of one piece.
func (e *encoder) piece(s string) {
	if r, ok := e.seen[s]; ok {
		e.ids = append(e.ids, e.ids[r[0]:r[1]]...)
		return
	}
	first := len(e.ids)
	e.merge(s)
	if len(s) <= maxCachedPiece {
		e.seen[s] = [2]int{first, len(e.ids)}
	}
}

// symbol is a node of the doubly linked list of the parts of a piece.
type symbol struct{ id, prev, next int32 }

// gone is the id of a symbol that was merged into the one before it.
const gone = -1

// merge appends the tokens of s: beginning with its bytes, the pair of neighbours whose merge
// has the lowest rank, the leftmost of equals, is joined until no neighbours can be.
func (e *encoder) merge(s string) {
	if e.ignoreMerges {
		if id, ok := e.id[byteSpelling(s)]; ok {
			e.ids = append(e.ids, id)
			return
		}
	}
	e.symbols, e.queue = e.symbols[:0], e.queue[:0]
	for i := range len(s) {
		e.symbols = append(e.symbols, symbol{e.byteID[s[i]], int32(i) - 1, int32(i) + 1})
	}
	e.symbols[len(s)-1].next = gone
	for i := range e.symbols {
		e.offer(int32(i))
	}
	for len(e.queue) > 0 {
		c := e.queue.pop()
		left := &e.symbols[c.at]
		if left.id == gone || left.next == gone {
			continue
		}
		right := &e.symbols[left.next]
		if m, ok := e.merges[[2]int32{left.id, right.id}]; !ok || m.id != c.id {
			continue // one of the two was merged with another neighbour meanwhile
		}
		left.id, left.next, right.id = c.id, right.next, gone
		if left.next != gone {
			e.symbols[left.next].prev = c.at
		}
		if left.prev != gone {
			e.offer(left.prev)
		}
		e.offer(c.at)
	}
	for i := int32(0); i != gone; i = e.symbols[i].next {
		e.ids = append(e.ids, e.symbols[i].id)
	}
}

// offer queues the merge of symbol i with its successor, if there is one.
func (e *encoder) offer(i int32) {
	s := e.symbols[i]
	if s.next == gone {
		return
	}
	if m, ok := e.merges[[2]int32{s.id, e.symbols[s.next].id}]; ok {
		e.queue.push(candidate{rank: m.rank, at: i, id: m.id})
	}
}

// candidate is a merge that may be made at symbol at, giving id.
type candidate struct{ rank, at, id int32 }

// mergeQueue is a binary heap with the lowest rank, then the leftmost, on top.
type mergeQueue []candidate

func (c candidate) before(d candidate) bool {
	return c.rank < d.rank || c.rank == d.rank && c.at < d.at
}

func (q *mergeQueue) push(c candidate) {
	h := append(*q, c)
	i := len(h) - 1
	for i > 0 && c.before(h[(i-1)/2]) {
		h[i] = h[(i-1)/2]
		i = (i - 1) / 2
	}
	h[i] = c
	*q = h
}

func (q *mergeQueue) pop() candidate {
	h := *q
	top, last := h[0], h[len(h)-1]
	h = h[:len(h)-1]
	for i := 0; len(h) > 0; {
		child := 2*i + 1
		if child+1 < len(h) && h[child+1].before(h[child]) {
			child++
		}
		if child >= len(h) || !h[child].before(last) {
			h[i] = last
			break
		}
		h[i] = h[child]
		i = child
	}
	*q = h
	return top
}
