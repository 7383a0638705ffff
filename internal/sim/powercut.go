package sim

import (
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
)

// leave ends the use of a disk by the life that had it. What that life still does comes to nothing.
func (d *disk) leave() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.mu.left = true
	d.release()
}

// handOver returns the disk for the next life, after the process has ended: everything is as it was.
func (d *disk) handOver() *disk {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.successor(func(n *inode) (data, synced []byte, dirty map[int]uint64) {
		return slices.Clone(n.data), slices.Clone(n.synced), maps.Clone(n.dirty)
	}, func(n *inode) (children, durable map[string]*inode, pending []dirChange) {
		return n.children, n.durable, n.pending
	})
}

// powerCut returns the disk for the next life, as a power cut leaves it (D1, D2). The dice say how much of what was not
// synced has made it: nothing, all, or any part.
func (d *disk) powerCut(rng *rand.Rand) *disk {
	d.mu.Lock()
	defer d.mu.Unlock()
	percent := []int{0, 0, 100, 20, 50, 80}[rng.IntN(6)]
	return d.successor(func(n *inode) ([]byte, []byte, map[int]uint64) {
		after := slices.Clone(n.synced)
		for _, s := range slices.Sorted(maps.Keys(n.dirty)) {
			if rng.IntN(100) >= percent || s*sectorBytes >= len(n.data) {
				continue
			}
			sector := n.sector(s)
			if grow := s*sectorBytes + len(sector) - len(after); grow > 0 {
				after = append(after, make([]byte, grow)...)
			}
			copy(after[s*sectorBytes:], sector)
		}
		return after, slices.Clone(after), map[int]uint64{}
	}, func(n *inode) (map[string]*inode, map[string]*inode, []dirChange) {
		names := maps.Clone(n.durable)
		kept := 0
		if percent > 0 && len(n.pending) > 0 {
			kept = len(n.pending)
			if percent < 100 {
				kept = rng.IntN(len(n.pending) + 1)
			}
		}
		for _, c := range n.pending[:kept] {
			c.apply(names)
		}
		return names, names, nil
	})
}

// successor copies the tree. A file with two names stays one file.
func (d *disk) successor(content func(*inode) (data, synced []byte, dirty map[int]uint64),
	names func(*inode) (children, durable map[string]*inode, pending []dirChange)) *disk {
	next := newDisk(d.host)
	copies := map[*inode]*inode{}
	var clone func(n *inode) *inode
	all := func(in map[string]*inode) map[string]*inode {
		out := make(map[string]*inode, len(in))
		for _, name := range slices.Sorted(maps.Keys(in)) {
			out[name] = clone(in[name])
		}
		return out
	}
	clone = func(n *inode) *inode {
		if n == nil {
			return nil
		}
		if c := copies[n]; c != nil {
			return c
		}
		c := &inode{dir: n.dir, touched: n.touched, writes: n.writes}
		copies[n] = c
		if !n.dir {
			c.data, c.synced, c.dirty = content(n)
			return c
		}
		children, durable, pending := names(n)
		c.children, c.durable = all(children), all(durable)
		for _, p := range pending {
			c.pending = append(c.pending, dirChange{p.name, clone(p.node)})
		}
		return c
	}
	next.mu.root = clone(d.mu.root)
	next.mu.capacity, next.mu.fault = d.mu.capacity, d.mu.fault
	next.count(next.mu.root)
	return next
}

// count sets how many names each file has, and how much of the disk is used.
func (d *disk) count(n *inode) {
	n.links++
	if n.links == 1 {
		d.mu.used += int64(len(n.data))
	}
	for _, name := range slices.Sorted(maps.Keys(n.children)) {
		d.count(n.children[name])
	}
}

// flip turns one bit of a durable file whose path the condition likes (D6), and returns where; "" if there is none.
func (d *disk) flip(rng *rand.Rand, likes func(path string) bool) (path string, at int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	type found struct {
		path string
		n    *inode
	}
	var all []found
	var walk func(n *inode, path string)
	walk = func(n *inode, path string) {
		if !n.dir {
			if len(n.synced) > 0 && len(n.dirty) == 0 && likes(path) {
				all = append(all, found{path, n})
			}
			return
		}
		for _, name := range slices.Sorted(maps.Keys(n.children)) {
			walk(n.children[name], path+"/"+name)
		}
	}
	walk(d.mu.root, "")
	if len(all) == 0 {
		return "", 0
	}
	f := all[rng.IntN(len(all))]
	// Preallocated zeros at the end hold nothing: flip within what was written.
	end := len(strings.TrimRight(string(f.n.data), "\x00"))
	if end == 0 {
		return "", 0
	}
	at = rng.IntN(end)
	bit := byte(1) << rng.IntN(8)
	f.n.data[at] ^= bit
	f.n.synced[at] ^= bit
	return f.path, at
}

// files returns the paths of all files, in order.
func (d *disk) files() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	var all []string
	var walk func(n *inode, path string)
	walk = func(n *inode, path string) {
		if !n.dir {
			all = append(all, path)
			return
		}
		for _, name := range slices.Sorted(maps.Keys(n.children)) {
			walk(n.children[name], path+"/"+name)
		}
	}
	walk(d.mu.root, "")
	return all
}

// change sets what is wrong with the disk.
func (d *disk) change(f diskFault) {
	d.mu.Lock()
	defer d.mu.Unlock()
	hung := d.mu.fault.hangs
	d.mu.fault = f
	if hung && !f.hangs {
		d.release()
	}
}

// bound makes the disk full when more than so many bytes are added; a negative number takes the bound away.
func (d *disk) bound(more int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.mu.capacity = 0
	if more >= 0 {
		d.mu.capacity = d.mu.used + more
	}
}
