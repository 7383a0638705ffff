//go:build machine_next

package machine

// next is what makes this build one that a cluster can be upgraded to. It differs where it shows: members that do not
// switch at the same entry have different digests from there on.
var next = []Version{
	{
		Number: 2,
		Kinds:  firstKinds,
		Digest: "xxhash64 chain 1 with seed 2",
		seed:   2,
	},
}
