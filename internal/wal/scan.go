package wal

// found is one valid record as a scan sees it.
type found struct {
	frame
	offset int64
	head   []byte // of an entry its first entryHead bytes, of a hard state all; valid during the call
}

func (r found) end() int64 { return r.offset + recordSize(r.length) }

// scan is the reading of one segment's records from front to back.
type scan struct {
	window
	seed uint32
}

func newScan(s *segment, limit int64) *scan {
	return &scan{window: window{file: s.file, limit: limit}, seed: s.seed}
}

// at reads the record at offset. If there is no valid one, reason says why. err is a failure to read.
func (s *scan) at(offset int64) (r found, reason string, err error) {
	if s.limit-offset < recordHead {
		return r, "there is no room for a record", nil
	}
	b, err := s.bytes(offset, recordHead)
	if err != nil {
		return r, "", err
	}
	r.offset = offset
	if r.frame, reason = decodeFrame(b, s.seed, offset, s.limit); reason != "" {
		return r, reason, nil
	}
	sum, err := s.sum(offset+recordHead, recordSize(r.length)-recordHead)
	if err != nil {
		return r, "", err
	}
	if sum != r.body {
		return r, "the checksum of a record's body does not match", nil
	}
	var least, most int
	switch r.kind {
	case kindEntry:
		least, most = entryHead, maxPayload
	case kindState:
		least, most = stateBytes, stateBytes
	case kindMark:
	default:
		return r, "a record has an unknown kind", nil
	}
	if r.length < least || r.length > most {
		return r, "a record has a length that its kind cannot have", nil
	}
	r.head, err = s.bytes(offset+recordHead, least)
	return r, "", err
}

// all calls visit for each record from the first on. It returns the offset at which the valid records end, and why.
func (s *scan) all(visit func(found) error) (end int64, reason string, err error) {
	for end = headerSize; ; {
		r, reason, err := s.at(end)
		if reason != "" || err != nil {
			return end, reason, err
		}
		if err := visit(r); err != nil {
			return end, "", err
		}
		end = r.end()
	}
}

// rest is what lies behind the end of the valid records.
type rest struct {
	zero    bool  // nothing but zeros
	ours    bool  // something of this life of the file: a broken record where the next would be, or valid ones behind
	synced  int64 // the greatest synced offset that a valid record there names
	refused bool  // there were more candidates than an honest file has; nothing is known
}

// searchFactor bounds the work of a search: so many times the length searched may go through a checksum.
const searchFactor = 16

// behind searches everything from offset on for valid records and calls visit, if not nil, for each.
func (s *scan) behind(offset int64, visit func(found) error) (rest, error) {
	out := rest{zero: true}
	budget := searchFactor * (s.limit - offset)
	next := offset // where the next record may begin that is not within a valid one
	for at := offset; at < s.limit; at += recordAlign {
		b, err := s.bytes(at, int(min(recordHead, s.limit-at)))
		if err != nil {
			return out, err
		}
		if out.zero {
			for _, c := range b[:min(recordAlign, len(b))] {
				out.zero = out.zero && c == 0
			}
		}
		if len(b) < recordHead {
			continue
		}
		f, reason := decodeFrame(b, s.seed, at, s.limit)
		if reason != "" {
			continue
		}
		if at == offset {
			out.ours = true // the head is whole and the body is not
		}
		if budget -= recordSize(f.length); budget < 0 {
			out.refused = true
			return out, nil
		}
		r, reason, err := s.at(at)
		if err != nil {
			return out, err
		}
		if reason != "" {
			continue
		}
		out.ours = true
		out.synced = max(out.synced, r.synced)
		if visit != nil && at >= next {
			if err := visit(r); err != nil {
				return out, err
			}
			next = r.end()
		}
	}
	return out, nil
}
