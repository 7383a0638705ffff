//go:build !machine_next

package machine

// next are the versions of a build that tests upgrade to; this is not one.
var next []Version
