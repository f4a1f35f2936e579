package kafka

import (
	"testing"

	ck "github.com/confluentinc/confluent-kafka-go/v2/kafka"
)

// TestMailbox follows reports in and out: a digit expects so many, p puts one in, t takes all. Behind each the number of those taken, and
// whether the bell rang (!), which is heard at once.
func TestMailbox(t *testing.T) {
	for _, c := range []struct{ name, steps, want string }{
		{"it rings for the last that is expected", "3ppp", "...!"},
		{"and once", "2ppp", "..!."},
		{"at once for what is there", "pp2", "..!"},
		{"for more than is expected as well", "ppp2", "...!"},
		{"not for what was taken", "pt1p", ".1.!"},
		{"nobody waits", "pppt", "...3"},
		{"what is expected anew counts", "5p2pt", "...!2"},
		{"less is taken than is expected", "3ptp1tt", "..1.!10"},
		{"memory is used again", "ptpptppppt", ".1..2....4"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := newMailbox(2)
			var in []*ck.Message
			got := ""
			for _, step := range c.steps {
				switch step {
				case 'p':
					r := &ck.Message{}
					in = append(in, r)
					m.put(r)
				case 't':
					out := m.take()
					for i, r := range out {
						if r != in[i] {
							t.Errorf("report %d is another one", i)
						}
					}
					in = in[len(out):]
					got += string(rune('0' + len(out)))
					continue
				default:
					m.expect(int(step - '0'))
				}
				select {
				case <-m.bell:
					got += "!"
				default:
					got += "."
				}
			}
			if got != c.want {
				t.Errorf("%s: %s, want %s", c.steps, got, c.want)
			}
			m.put(nil)
			if n := m.take(); len(n) == 0 || n[len(n)-1] != nil {
				t.Error("a report was lost")
			}
		})
	}
}
