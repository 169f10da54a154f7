package acceptance

import (
	"regexp"
	"slices"

	"github.com/rogpeppe/go-internal/testscript"
)

// This file learns the private keys that the engine makes and that no provider ever
// has, so that they are looked for in all logs. Vault's storage is where they are.

// privateForm is the private member of a JWK, in JSON that is a text in other JSON.
var privateForm = regexp.MustCompile(`"d\\*":\\*"([A-Za-z0-9_-]{40,})\\*"`)

// learnSigning adds the private keys that the connections of all mounts have now.
func (s *script) learnSigning() error {
	mounts, err := s.server.mounts()
	if err != nil {
		return err
	}
	for _, uuid := range mounts {
		err := s.server.rawWalk("sys/raw/logical/"+uuid+"/config/", func(_, text string) error {
			for _, found := range privateForm.FindAllStringSubmatch(text, -1) {
				if !slices.Contains(s.signing, found[1]) {
					s.signing = append(s.signing, found[1])
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *script) cmdSigning(_ *testscript.TestScript, args []string) error {
	if len(args) != 1 || s.server == nil {
		return usage("signing RANGE, after vaultd start")
	}
	if err := s.learnSigning(); err != nil {
		return err
	}
	return wantNumber("private keys that were ever seen in the storage", len(s.signing), args[0], nil)
}
