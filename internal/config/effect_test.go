package config

import (
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
)

// TestEverySettingIsUsed holds C4: a setting that does not say that it has no effect is read by the program, outside
// this package.
func TestEverySettingIsUsed(t *testing.T) {
	var program strings.Builder
	for _, pattern := range []string{"../../*.go", "../../cmd/holdfast/*.go", "../assembly/*.go"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %d files, %v", pattern, len(files), err)
		}
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			program.Write(text)
		}
	}
	var c Config
	for _, s := range table {
		if s.NoEffect != "" || s.field == nil {
			continue
		}
		name := fieldAt(&c, s.field(&c))
		if usedHere[name] != "" {
			continue
		}
		use := regexp.MustCompile(`\.` + name + `\b`)
		if method := usedThrough[name]; method != "" {
			use = regexp.MustCompile(`\.` + method + `\(`)
		}
		if !use.MatchString(program.String()) {
			t.Errorf("--%s is read into Config.%s, which the program never looks at: use it, or say in NoEffect why not", s.Name, name)
		}
	}
}

// usedThrough names the methods of Config through which fields are used.
var usedThrough = map[string]string{
	"QuotaBackendBytes":                "Quota",
	"FeatureGates":                     "Enabled",
	"AutoCompactionMode":               "Compaction",
	"AutoCompactionRetention":          "Compaction",
	"AutoCompactionRetentionRevisions": "Compaction",
	"LogFormat":                        "Console",
	"InitialAdvertisePeerURLs":         "CheckBootstrap",
	"LogRotationConfigJSON":            "Rotation",
	"CipherSuites":                     "CipherSuiteIDs",
	"PeerClientCertAuth":               "PeerClientCertificates",
	"TLSMinVersion":                    "TLSVersions",
	"TLSMaxVersion":                    "TLSVersions",
}

// usedHere are the settings that do their work in this package.
var usedHere = map[string]string{
	"AutoTLS":           "without it an https URL needs a certificate file; the program makes one where there is none",
	"ConfigFile":        "Parse reads it",
	"WALDir":            "it is refused",
	"DiscoveryFallback": "only one value is accepted",
}

// fieldAt returns the name of the field of c that p points to.
func fieldAt(c *Config, p any) string {
	v := reflect.ValueOf(c).Elem()
	for i := range v.NumField() {
		if v.Type().Field(i).IsExported() && v.Field(i).Addr().Pointer() == reflect.ValueOf(p).Pointer() {
			return v.Type().Field(i).Name
		}
	}
	return "?"
}
