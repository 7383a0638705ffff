package watch

import (
	"bytes"

	"holdfast/internal/command"
)

// index finds the watchers of a key: those of single keys in a map, those of spans in a treap that is ordered by
// (start, end) and knows the greatest end below each node. Watchers of the same interval share a group.
type index struct {
	points map[string]*group
	root   *node
	seed   uint64
	size   int
}

// group is the watchers of one interval.
type group struct {
	watchers []*Watcher
	found    *found // of a pass of the catcher
}

// slot tells where a watcher stands in an index; an index has its own slot in each watcher.
type slot struct {
	group *group
	at    int
}

// node is one span of the treap.
type node struct {
	group
	start, end  []byte // a nil end is beyond every key
	most        []byte // the greatest end in this subtree, nil as above
	priority    uint64
	left, right *node
}

// add puts w into x; s is w's slot in x.
func (x *index) add(w *Watcher, s *slot) {
	x.size++
	iv := w.interval
	if iv.Shape == command.Point {
		if x.points == nil {
			x.points = make(map[string]*group)
		}
		s.group = x.points[string(iv.Start)]
		if s.group == nil {
			s.group = new(group)
			x.points[string(iv.Start)] = s.group
		}
	} else {
		x.root = x.insert(x.root, iv.Start, endOf(iv), &s.group)
	}
	s.at = len(s.group.watchers)
	s.group.watchers = append(s.group.watchers, w)
}

// remove takes w out of x. slotOf finds the slots of x.
func (x *index) remove(w *Watcher, slotOf func(*Watcher) *slot) {
	x.size--
	s := slotOf(w)
	g := s.group
	last := len(g.watchers) - 1
	if s.at != last {
		moved := g.watchers[last]
		g.watchers[s.at] = moved
		slotOf(moved).at = s.at
	}
	g.watchers[last] = nil
	g.watchers = g.watchers[:last]
	*s = slot{}
	switch {
	case last > 0:
		if cap(g.watchers) > 64 && last < cap(g.watchers)/4 {
			g.watchers = append(make([]*Watcher, 0, last*2), g.watchers...)
		}
	case w.interval.Shape == command.Point:
		delete(x.points, string(w.interval.Start))
	default:
		x.root = x.delete(x.root, w.interval.Start, endOf(w.interval))
	}
}

// match appends every group whose interval has key in it.
func (x *index) match(key []byte, groups []*group) []*group {
	if len(x.points) > 0 {
		if g := x.points[string(key)]; g != nil {
			groups = append(groups, g)
		}
	}
	return x.root.stab(key, groups)
}

// stab appends the spans of the subtree that have key in them.
func (n *node) stab(key []byte, groups []*group) []*group {
	for n != nil {
		if n.most != nil && bytes.Compare(n.most, key) <= 0 {
			break // every span here ends before key
		}
		if bytes.Compare(n.start, key) > 0 {
			n = n.left // and everything to the right begins after key
			continue
		}
		if n.end == nil || bytes.Compare(key, n.end) < 0 {
			groups = append(groups, &n.group)
		}
		if n.left != nil {
			groups = n.left.stab(key, groups)
		}
		n = n.right
	}
	return groups
}

// each visits every watcher.
func (x *index) each(visit func(*Watcher)) {
	for _, g := range x.points {
		for _, w := range g.watchers {
			visit(w)
		}
	}
	x.root.each(visit)
}

func (n *node) each(visit func(*Watcher)) {
	if n == nil {
		return
	}
	n.left.each(visit)
	for _, w := range n.watchers {
		visit(w)
	}
	n.right.each(visit)
}

// endOf returns the end of a span, nil for none.
func endOf(iv command.Interval) []byte {
	if iv.Shape == command.From {
		return nil
	}
	return iv.End
}

func compareEnds(a, b []byte) int {
	switch {
	case a == nil && b == nil:
		return 0
	case a == nil:
		return 1
	case b == nil:
		return -1
	}
	return bytes.Compare(a, b)
}

func compareSpans(start, end []byte, n *node) int {
	if c := bytes.Compare(start, n.start); c != 0 {
		return c
	}
	return compareEnds(end, n.end)
}

// update recomputes most from the children.
func (n *node) update() *node {
	n.most = n.end
	for _, child := range [2]*node{n.left, n.right} {
		if child != nil && compareEnds(child.most, n.most) > 0 {
			n.most = child.most
		}
	}
	return n
}

// insert returns the subtree n with the span in it, whose group it stores in g.
func (x *index) insert(n *node, start, end []byte, g **group) *node {
	if n == nil {
		// Balance needs numbers that clients cannot arrange, not good ones: this is splitmix64.
		x.seed += 0x9e3779b97f4a7c15
		p := x.seed
		p = (p ^ p>>30) * 0xbf58476d1ce4e5b9
		p = (p ^ p>>27) * 0x94d049bb133111eb
		n = &node{start: start, end: end, priority: p ^ p>>31}
		*g = &n.group
		return n.update()
	}
	switch c := compareSpans(start, end, n); {
	case c == 0:
		*g = &n.group
		return n
	case c < 0:
		n.left = x.insert(n.left, start, end, g)
		if n.left.priority > n.priority {
			up := n.left
			n.left, up.right = up.right, n
			n.update()
			n = up
		}
	default:
		n.right = x.insert(n.right, start, end, g)
		if n.right.priority > n.priority {
			up := n.right
			n.right, up.left = up.left, n
			n.update()
			n = up
		}
	}
	return n.update()
}

// delete returns the subtree n without the span, which must be there.
func (x *index) delete(n *node, start, end []byte) *node {
	switch c := compareSpans(start, end, n); {
	case c < 0:
		n.left = x.delete(n.left, start, end)
	case c > 0:
		n.right = x.delete(n.right, start, end)
	default:
		return join(n.left, n.right)
	}
	return n.update()
}

// join makes one tree of two, of which the first stands wholly before the second.
func join(a, b *node) *node {
	switch {
	case a == nil:
		return b
	case b == nil:
		return a
	case a.priority > b.priority:
		a.right = join(a.right, b)
		return a.update()
	default:
		b.left = join(a, b.left)
		return b.update()
	}
}
