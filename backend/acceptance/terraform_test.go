package acceptance

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/rogpeppe/go-internal/testscript"
)

// This file lets scripts run Terraform, or OpenTofu, on the module that users get.
//
// It downloads nothing: the provider is a binary that scripts/terraform.sh built, and
// a configuration of the CLI makes it be used in place of any from a registry. So
// there is no "terraform init": "terraform get" finds the modules, which is all that
// is left of it.

// bootstrapDir is what users get, relative to this package.
const bootstrapDir = "../../bootstrap"

// errNoTerraform fails the scripts that need Terraform, and no other.
var errNoTerraform = errors.New("there is no Terraform to test with; run make terraform")

// findTerraform returns the programs that scripts/terraform.sh would, but builds none.
func findTerraform() (cli, provider string, err error) {
	cli = os.Getenv("TERRAFORM_BINARY")
	for _, name := range []string{"terraform", "tofu", "../../bin/tofu"} {
		if cli == "" {
			cli, _ = exec.LookPath(name)
		}
	}
	provider = cmp.Or(os.Getenv("TERRAFORM_PROVIDER_VAULT"), "../../bin/terraform-provider-vault")
	for _, file := range []*string{&cli, &provider} {
		if *file, err = filepath.Abs(*file); err != nil {
			return "", "", err
		}
		if info, err := os.Stat(*file); err != nil || info.IsDir() {
			return "", "", errNoTerraform
		}
	}
	return cli, provider, nil
}

// terraformShim is the terraform of the scripts. All that it says is kept, for no secret
// may be in it.
const terraformShim = `#!/bin/sh
'%[1]s' "$@" >'%[3]s/tf.'$$ 2>&1
status=$?
cat '%[3]s/tf.'$$ >>'%[2]s'
cat '%[3]s/tf.'$$
rm -f '%[3]s/tf.'$$
exit $status
`

// noTerraformShim is what it is without one.
const noTerraformShim = `#!/bin/sh
echo '%s' >&2
exit 70
`

// terraformConfig makes the CLI use the provider that is there.
const terraformConfig = `
provider_installation {
  dev_overrides {
    "hashicorp/vault" = %q
  }
  direct {}
}
disable_checkpoint = true
`

// setUpTerraform gives a script terraform, and tells it where the module is, and what
// is to be registered.
func (s *script) setUpTerraform(env *testscript.Env, bin string) error {
	cli, provider, err := findTerraform()
	shim := fmt.Sprintf(noTerraformShim, errNoTerraform)
	if err == nil {
		shim = fmt.Sprintf(terraformShim, cli, s.cliLog, bin)
	} else if !errors.Is(err, errNoTerraform) {
		return err
	}
	config := filepath.Join(env.WorkDir, ".terraform.rc")
	env.Setenv("TF_CLI_CONFIG_FILE", config)
	env.Setenv("TF_IN_AUTOMATION", "1")
	env.Setenv("TF_CLI_ARGS", "-no-color")
	for variable, value := range map[string]string{
		"command":              pluginName,
		"sha256":               plugin.sha256,
		"plugin_version":       plugin.version,
		"openai_url":           env.Getenv("FAKE_URL"),
		"openai_key":           env.Getenv("ADMIN_KEY"),
		"project":              env.Getenv("PROJECT"),
		"litellm_url":          env.Getenv("LITELLM_URL"),
		"litellm_key":          env.Getenv("LITELLM_ADMIN_KEY"),
		"litellm_team":         env.Getenv("LITELLM_TEAM"),
		"openrouter_url":       env.Getenv("OPENROUTER_URL"),
		"openrouter_key":       env.Getenv("OPENROUTER_ADMIN_KEY"),
		"openrouter_workspace": env.Getenv("OPENROUTER_WORKSPACE"),
	} {
		env.Setenv("TF_VAR_"+variable, value)
	}
	root, err := filepath.Abs("testdata/terraform")
	if err != nil {
		return err
	}
	env.Setenv("TERRAFORM_ROOT", root)
	env.Setenv("PLUGIN_DIR", plugin.dir)
	return errors.Join(
		os.WriteFile(config, fmt.Appendf(nil, terraformConfig, filepath.Dir(provider)), 0o600),
		os.WriteFile(filepath.Join(bin, "terraform"), []byte(shim), 0o755),
	)
}
