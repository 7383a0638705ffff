package machine

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"holdfast/internal/command"
	"holdfast/internal/kind"
	"holdfast/internal/store"
)

// Alarm is something that is wrong with a member. The whole cluster knows of it until it is cleared.
type Alarm struct {
	Member kind.MemberID
	Type   command.AlarmType
}

// known tells what is an alarm from what a request of a later version may ask for.
func (a Alarm) known() bool {
	switch a.Type {
	case command.AlarmNoSpace, command.AlarmCorrupt:
		return true
	case command.AlarmDowngrade:
		return a.Member == 0
	}
	return false
}

// The record of an alarm:
//
//	x <member, 8 BE> <type, 1 byte> 00  ->  version (1 byte: 1) | crc32c (4 BE) of key and version
const alarmVersion = 1

// ErrAlarmRecord says that the stored record of an alarm is broken or of a version that this program does not know.
var ErrAlarmRecord = errors.New("a record of an alarm cannot be read")

func alarmKey(a Alarm) []byte {
	name := append(binary.BigEndian.AppendUint64(nil, uint64(a.Member)), byte(a.Type))
	return store.AppendKey(nil, store.FamilyAlarm, string(name))
}

func encodeAlarm(key []byte) []byte {
	sum := crc32.Update(crc32.Checksum(key, castagnoli), castagnoli, []byte{alarmVersion})
	return binary.BigEndian.AppendUint32([]byte{alarmVersion}, sum)
}

func decodeAlarm(key, value []byte) (Alarm, error) {
	if len(key) != 11 || key[0] != store.FamilyAlarm || key[10] != 0 || len(value) != 5 || string(encodeAlarm(key)) != string(value) {
		return Alarm{}, fmt.Errorf("%w: its key is %x, its value %x", ErrAlarmRecord, key, value)
	}
	a := Alarm{Member: kind.MemberID(binary.BigEndian.Uint64(key[1:])), Type: command.AlarmType(key[9])}
	if !a.known() {
		return Alarm{}, fmt.Errorf("%w: it is of type %d", ErrAlarmRecord, a.Type)
	}
	return a, nil
}

// loadAlarms reads the alarms, ordered by member and type.
func loadAlarms(r pebble.Reader) (alarms []Alarm, err error) {
	it, err := r.NewIter(store.FamilyOptions(store.FamilyAlarm))
	if err != nil {
		return nil, store.WrapRead("read the alarms", err)
	}
	defer func() { err = errors.Join(err, store.WrapRead("read the alarms", it.Close())) }()
	for valid := it.First(); valid; valid = it.Next() {
		value, err := it.ValueAndErr()
		if err != nil {
			return nil, store.WrapRead("read the alarms", err)
		}
		a, err := decodeAlarm(it.Key(), value)
		if err != nil {
			return nil, err
		}
		alarms = append(alarms, a)
	}
	return alarms, store.WrapRead("read the alarms", it.Error())
}

// Alarms returns the alarms that are raised, ordered by member and type. Any goroutine may call it; the caller must
// not change the answer.
func (m *Machine) Alarms() []Alarm { return *m.alarms.Load() }

func (p *Pending) currentAlarms() []Alarm {
	if p.alarms != nil {
		return *p.alarms
	}
	return *p.machine.alarms.Load()
}

// alarmCommand raises or clears one alarm. Its answer is the field alarms of an AlarmResponse: the alarm, if it is
// raised, whether before or by this command, or was cleared. What names no alarm that there is does nothing.
func (p *Pending) alarmCommand(c command.Alarm) {
	a := Alarm{c.Member, c.Type}
	if !a.known() {
		return
	}
	have := p.currentAlarms()
	i, found := slices.BinarySearchFunc(have, a, compareAlarms)
	switch c.Action {
	case command.AlarmRaise:
		if !found {
			key := alarmKey(a)
			p.machine.batch.Set(key, encodeAlarm(key))
			p.digest.numbers('Q', uint64(a.Member), uint64(a.Type))
			list := slices.Insert(slices.Clone(have), i, a)
			p.alarms = &list
		}
	case command.AlarmClear:
		if !found {
			return
		}
		p.clearAlarm(i)
	default:
		return
	}
	if r := &p.run; r.want {
		one := appendVarint([]byte{tagAlarmMember}, uint64(a.Member))
		one = appendVarint(append(one, tagAlarmType), uint64(a.Type))
		r.body = appendMessage(r.body, tagAlarms, one)
	}
}

// clearAlarmsOf clears the alarms of a member that is removed: nobody else could ever say that their cause is gone.
func (p *Pending) clearAlarmsOf(id kind.MemberID) {
	for {
		i := slices.IndexFunc(p.currentAlarms(), func(a Alarm) bool { return a.Member == id })
		if i < 0 {
			return
		}
		p.clearAlarm(i)
	}
}

func (p *Pending) clearAlarm(i int) {
	have := p.currentAlarms()
	a := have[i]
	p.machine.batch.Delete(alarmKey(a))
	p.digest.numbers('q', uint64(a.Member), uint64(a.Type))
	list := slices.Delete(slices.Clone(have), i, i+1)
	p.alarms = &list
}

func compareAlarms(a, b Alarm) int {
	switch {
	case a.Member < b.Member || a.Member == b.Member && a.Type < b.Type:
		return -1
	case a == b:
		return 0
	}
	return 1
}
