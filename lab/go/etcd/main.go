// The lab's etcd: the real one, but for how much of its log it sets aside. The published program allocates two files of
// 64 MB before the first write; on the tmpfs of a test that is memory, and many tests run side by side.
package main

import (
	"os"

	"go.etcd.io/etcd/server/v3/etcdmain"
	"go.etcd.io/etcd/server/v3/storage/wal"
)

func main() {
	wal.SegmentSizeBytes = 8 << 20
	etcdmain.Main(os.Args)
}
