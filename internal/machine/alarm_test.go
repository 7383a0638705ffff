package machine

import (
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/internal/command"
)

// The record of an alarm is frozen.
func TestAlarmGolden(t *testing.T) {
	a := Alarm{Member: 0x8e9e05c52164694d, Type: command.AlarmCorrupt}
	key := alarmKey(a)
	got := hex.EncodeToString(key) + " " + hex.EncodeToString(encodeAlarm(key))
	path := filepath.Join("testdata", "alarm-v1.hex")
	if *rewrite {
		if err := os.WriteFile(path, []byte(got+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if strings.TrimSpace(string(want)) != got {
		t.Errorf("the record is written as %s", got)
	}
	if read, err := decodeAlarm(key, encodeAlarm(key)); err != nil || read != a {
		t.Errorf("it is read as %+v, %v", read, err)
	}
}

// FuzzAlarm: what is read as an alarm is written as the same bytes, and nothing makes the decoder panic.
func FuzzAlarm(f *testing.F) {
	key := alarmKey(Alarm{Member: 7, Type: command.AlarmNoSpace})
	f.Add(key, encodeAlarm(key))
	f.Add([]byte("x"), []byte{1})
	f.Fuzz(func(t *testing.T, key, value []byte) {
		for _, value := range [][]byte{value, encodeAlarm(key)} {
			a, err := decodeAlarm(key, value)
			if err != nil {
				continue
			}
			if again := alarmKey(a); key[0] != 'x' || key[10] != 0 || string(again) != string(key) || string(encodeAlarm(again)) != string(value) {
				t.Errorf("%x -> %x is read as %+v", key, value, a)
			}
		}
	})
}
