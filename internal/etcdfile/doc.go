// Package etcdfile reads and writes etcd's own files: the bbolt file that is its backend and its snapshot, and the log
// that lies beside it in a data directory. It is the way in from etcd, and the way back.
//
// Invariants:
//
//	E1  What is written is what etcd itself would have written for the same revisions: etcd's tools check it, restore it
//	    and serve it. What is read keeps every revision, version, lease, user and role.
//	E2  Writing does not hold the store up, and needs memory for a batch of rows, not for the store: rows are brought
//	    into the order of revisions by an engine of their own on disk.
//	E3  A file that is broken, cut short or not etcd's is refused with a sentence before anything is made of it.
//
// # The file
//
// A bbolt file with these buckets. Numbers are big endian.
//
//	key              revision (8) '_' sub (8)       -> mvccpb.KeyValue; with a 't' behind it, a delete, of which only the key
//	meta             consistent_index (8), term (8), confState (JSON), scheduledCompactRev and finishedCompactRev (17), storageVersion
//	lease            id (8)                         -> leasepb.Lease
//	auth             authEnabled (1), authRevision (8)
//	authUsers        name -> authpb.User            authRoles  name -> authpb.Role
//	members          id in hexadecimal -> JSON      members_removed  id in hexadecimal -> "removed"
//	cluster          clusterVersion                 alarm  etcdserverpb.AlarmMember -> nothing
//
// A snapshot has the SHA-256 of the file behind it. bbolt maps files into memory and so needs a real one: it is the one file
// of a member that does not go through the file system seam.
//
// # Use
//
//	s, err := etcdfile.Export(ctx, etcdfile.ExportConfig{View: view, Dir: scratch, …})
//	defer s.Close()
//	io.Copy(w, s)
//
//	f, err := etcdfile.Open("snapshot.db", etcdfile.OpenOptions{})
//	defer f.Close()
//	summary, err := f.Import(ctx, db, etcdfile.ImportOptions{…})
package etcdfile
