package cli

import (
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"

	"github.com/olekukonko/tablewriter"
	"github.com/olekukonko/tablewriter/tw"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// tablePrinter draws a table with a row for each member. Keys do not fit into one: a value may be a megabyte.
type tablePrinter struct{ out io.Writer }

func (p *tablePrinter) EndpointHealth(all []endpointHealth) error { return p.draw(healthRows(all)) }
func (p *tablePrinter) EndpointStatus(all []endpointStatus) error { return p.draw(statusRows(all)) }
func (p *tablePrinter) EndpointHashKV(all []endpointHash) error   { return p.draw(hashRows(all)) }

func (p *tablePrinter) draw(header []string, rows [][]string) error {
	config := tablewriter.NewConfigBuilder().WithRowAlignment(tw.AlignRight).Build()
	table := tablewriter.NewTable(p.out, tablewriter.WithConfig(config))
	table.Header(header)
	for _, row := range rows {
		if err := table.Append(row); err != nil {
			return err
		}
	}
	return table.Render()
}

func healthRows(all []endpointHealth) (header []string, rows [][]string) {
	header = []string{"endpoint", "health", "took", "error"}
	for _, h := range all {
		rows = append(rows, []string{h.Endpoint, strconv.FormatBool(h.Health), h.Took, h.Error})
	}
	return header, rows
}

func statusRows(all []endpointStatus) (header []string, rows [][]string) {
	header = []string{
		"endpoint", "ID", "version", "storage version", "db size", "in use", "percentage not in use", "quota",
		"is leader", "is learner", "raft term", "raft index", "raft applied index", "errors",
		"downgrade target version", "downgrade enabled",
	}
	for _, e := range all {
		r := (*pb.StatusResponse)(e.Status)
		rows = append(rows, []string{
			e.Endpoint,
			strconv.FormatUint(r.GetHeader().GetMemberId(), 16),
			r.GetVersion(),
			r.GetStorageVersion(),
			sizeText(r.GetDbSize()),
			sizeText(r.GetDbSizeInUse()),
			fmt.Sprintf("%d%%", percentFree(r.GetDbSize(), r.GetDbSizeInUse())),
			sizeText(r.GetDbSizeQuota()),
			strconv.FormatBool(r.GetLeader() == r.GetHeader().GetMemberId()),
			strconv.FormatBool(r.GetIsLearner()),
			strconv.FormatUint(r.GetRaftTerm(), 10),
			strconv.FormatUint(r.GetRaftIndex(), 10),
			strconv.FormatUint(r.GetRaftAppliedIndex(), 10),
			strings.Join(r.GetErrors(), ", "),
			r.GetDowngradeInfo().GetTargetVersion(),
			strconv.FormatBool(r.GetDowngradeInfo().GetEnabled()),
		})
	}
	return header, rows
}

func hashRows(all []endpointHash) (header []string, rows [][]string) {
	header = []string{"endpoint", "hash", "hash_revision"}
	for _, e := range all {
		r := (*pb.HashKVResponse)(e.HashKV)
		rows = append(rows, []string{
			e.Endpoint,
			strconv.FormatUint(uint64(r.GetHash()), 10),
			strconv.FormatInt(r.GetHashRevision(), 10),
		})
	}
	return header, rows
}

// percentFree is how much of size is not used, rounded up to a whole percent. A store without a size, which an
// old server may report, is all used.
func percentFree(size, used int64) int64 {
	if size <= 0 {
		return 0
	}
	return 100 - used*100/size
}

// sizeText writes a number of bytes in powers of a thousand: two digits below ten, else a whole number.
func sizeText(bytes int64) string {
	if bytes < 10 {
		return fmt.Sprintf("%d B", max(bytes, 0))
	}
	value, unit := float64(bytes), 0
	units := []string{"B", "kB", "MB", "GB", "TB", "PB", "EB"}
	for value >= 1000 && unit < len(units)-1 {
		value /= 1000
		unit++
	}
	if value = math.Round(value*10) / 10; value < 10 {
		return fmt.Sprintf("%.1f %s", value, units[unit])
	}
	return fmt.Sprintf("%.0f %s", value, units[unit])
}
