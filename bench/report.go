package main

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"text/tabwriter"
)

//go:embed marks.json
var marksFile []byte

// fdatasyncMetric is the metric of put-1 that its latency is held against.
const fdatasyncMetric = "fdatasync 4 KiB p50"

// A mark is what a metric of a row shall reach: a ratio to etcd, a time, a value, or the rule that AtMost tells.
type mark struct {
	Row     string  `json:"row"`
	Metric  string  `json:"metric"`
	Ratio   float64 `json:"ratio,omitempty"`
	Seconds float64 `json:"seconds,omitempty"`
	Value   float64 `json:"value,omitempty"` // in the metric's own unit
	AtMost  string  `json:"atMost,omitempty"`
}

// singlePutMark is the rule of the latency of a single client's put.
const singlePutMark = "twice fdatasync + 0.2 ms"

func readMarks(content []byte) ([]mark, error) {
	var marks []mark
	if err := json.Unmarshal(content, &marks); err != nil {
		return nil, fmt.Errorf("marks.json: %w", err)
	}
	for _, m := range marks {
		if m.AtMost != "" && m.AtMost != singlePutMark {
			return nil, fmt.Errorf("marks.json: the bench does not know how to hold %q", m.AtMost)
		}
	}
	return marks, nil
}

// A line is one metric of one row: the medians over the repetitions.
type line struct {
	Row      string  `json:"row"`
	Metric   string  `json:"metric"`
	Unit     string  `json:"unit"`
	Holdfast float64 `json:"holdfast"`
	Etcd     float64 `json:"etcd"`
	Ratio    float64 `json:"ratio"`
	Mark     string  `json:"mark,omitempty"`
	Reached  *bool   `json:"reached,omitempty"`
}

type report struct {
	Machine string   `json:"machine"`
	Command []string `json:"command"`
	Scale   scale    `json:"scale"`
	Repeats int      `json:"repeats"`

	order  []line
	values map[string][]float64 // by row, metric and system
}

func newReport(s settings, dir string) *report {
	host, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	return &report{
		Machine: fmt.Sprintf("%d processors, Linux %s, %s, data in %s", runtime.NumCPU(), strings.TrimSpace(string(host)), runtime.Version(), dir),
		Command: append([]string{"bench"}, os.Args[1:]...), Scale: s.scale, Repeats: s.repeats, values: map[string][]float64{},
	}
}

func key(row, metric, system string) string { return row + "|" + metric + "|" + system }

func (r *report) add(row, system string, figures []figure) {
	for _, f := range figures {
		k := key(row, f.metric, system)
		if len(r.values[key(row, f.metric, "holdfast")])+len(r.values[key(row, f.metric, "etcd")]) == 0 {
			r.order = append(r.order, line{Row: row, Metric: f.metric, Unit: f.unit})
		}
		r.values[k] = append(r.values[k], f.value)
	}
}

// lines computes the medians, the ratios and whether the marks are reached.
func (r *report) lines() ([]line, error) {
	marks, err := readMarks(marksFile)
	if err != nil {
		return nil, err
	}
	var lines []line
	for _, l := range r.order {
		l.Holdfast = median(r.values[key(l.Row, l.Metric, "holdfast")])
		l.Etcd = median(r.values[key(l.Row, l.Metric, "etcd")])
		if l.Etcd > 0 {
			l.Ratio = l.Holdfast / l.Etcd
		}
		for _, m := range marks {
			if m.Row == l.Row && m.Metric == l.Metric {
				l.hold(m, median(r.values[key(l.Row, fdatasyncMetric, "holdfast")]))
			}
		}
		lines = append(lines, l)
	}
	return lines, nil
}

// hold compares a line with its mark; fdatasync is in ms.
func (l *line) hold(m mark, fdatasync float64) {
	var words []string
	reached := true
	if m.Ratio > 0 {
		words = append(words, fmt.Sprintf("ratio <= %.2f", m.Ratio))
		reached = reached && l.Ratio <= m.Ratio
	}
	if m.Seconds > 0 {
		words = append(words, fmt.Sprintf("< %g s", m.Seconds))
		reached = reached && l.Holdfast < m.Seconds
	}
	if m.Value > 0 {
		words = append(words, fmt.Sprintf("<= %g", m.Value))
		reached = reached && l.Holdfast <= m.Value
	}
	if m.AtMost != "" {
		most := 2*fdatasync + 0.2
		words = append(words, fmt.Sprintf("<= %.3f ms (%s)", most, m.AtMost))
		reached = reached && l.Holdfast <= most
	}
	l.Mark, l.Reached = strings.Join(words, ", "), &reached
}

func (r *report) writeJSON(w io.Writer) error {
	lines, err := r.lines()
	if err != nil {
		return err
	}
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(struct {
		*report
		Lines []line `json:"lines"`
	}{r, lines})
}

func (r *report) writeTable(w io.Writer) error {
	lines, err := r.lines()
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "%s\n%s, medians of %d\n\n", r.Machine, strings.Join(r.Command, " "), r.Repeats)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "row\tmetric\tunit\tholdfast\tetcd\tratio\tmark\t\t")
	for _, l := range lines {
		verdict := ""
		if l.Reached != nil {
			verdict = map[bool]string{true: "reached", false: "MISSED"}[*l.Reached]
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%.2f\t%s\t%s\t\n", l.Row, l.Metric, l.Unit, digits(l.Holdfast), digits(l.Etcd), l.Ratio, l.Mark, verdict)
	}
	return t.Flush()
}

// digits prints a figure with as many decimals as it deserves.
func digits(v float64) string {
	switch {
	case v >= 1000:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.3f", v)
}
