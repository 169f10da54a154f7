package backend

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"text/template/parse"

	"github.com/hashicorp/go-secure-stdlib/base62"
	"github.com/hashicorp/vault/sdk/helper/template"
)

// This file renders the middle of a key's name from a role's name_template.
//
// Teams write their own roles, and one process serves all mounts: so a template
// may not loop, define others, or make long texts out of short ones.

const (
	// maxTemplate bounds a template, maxRendered what a function of it makes, in
	// bytes.
	maxTemplate = 512
	maxRendered = 1024
	// maxTemplateNumber bounds every number in a template, such as that of random.
	maxTemplateNumber = 128
	// noValue is what a template prints for a key that a map does not have.
	noValue = "<no value>"
)

// templateData is what a name template may use.
type templateData struct {
	RoleName, DisplayName, EntityID, EntityName string
	Metadata                                    map[string]string
}

// checkTemplate refuses a template that does not render to a name.
func checkTemplate(text string) error {
	if text == "" {
		return nil
	}
	if err := checkTemplateForm(text); err != nil {
		return badField("name_template", "%s", err)
	}
	name, err := renderTemplate(text, templateData{
		RoleName: "role", DisplayName: "display-name", EntityID: "entity-id", EntityName: "entity-name",
	})
	if err != nil {
		return badField("name_template", "does not render (%s); use .RoleName, .DisplayName, .EntityID, .EntityName or .Metadata", err)
	}
	if name == "" {
		return badField("name_template", "renders to nothing; use letters, digits or one of .RoleName, .DisplayName, .EntityID, .EntityName")
	}
	return nil
}

// checkTemplateForm refuses what could cost more than a name is worth.
func checkTemplateForm(text string) error {
	if len(text) > maxTemplate {
		return fmt.Errorf("is longer than %d characters", maxTemplate)
	}
	tree := parse.New("name")
	tree.Mode = parse.SkipFuncCheck
	trees := map[string]*parse.Tree{}
	if _, err := tree.Parse(text, "", "", trees); err != nil {
		return fmt.Errorf("does not render (%w)", err)
	}
	if len(trees) > 1 {
		return errors.New("defines another template; a name is one text")
	}
	return checkNodes(tree.Root)
}

func checkNodes(list *parse.ListNode) error {
	if list == nil {
		return nil
	}
	for _, node := range list.Nodes {
		var err error
		switch n := node.(type) {
		case *parse.TextNode, *parse.CommentNode:
		case *parse.ActionNode:
			err = checkPipe(n.Pipe)
		case *parse.IfNode:
			err = firstError(checkPipe(n.Pipe), checkNodes(n.List), checkNodes(n.ElseList))
		default:
			err = errors.New("may only print fields, call functions and use if")
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// checkPipe allows fields, plain values and the functions of templateFunctions.
func checkPipe(pipe *parse.PipeNode) error {
	if len(pipe.Decl) > 0 {
		return errors.New("may not use variables")
	}
	for _, command := range pipe.Cmds {
		for _, arg := range command.Args {
			if err := checkArgument(arg); err != nil {
				return err
			}
		}
	}
	return nil
}

func checkArgument(arg parse.Node) error {
	switch a := arg.(type) {
	case *parse.FieldNode, *parse.DotNode, *parse.StringNode, *parse.BoolNode:
		return nil
	case *parse.PipeNode:
		return checkPipe(a)
	case *parse.IdentifierNode:
		if !slices.Contains(templateFunctions, a.Ident) {
			return fmt.Errorf("may not use %s; use %s", a.Ident, strings.Join(templateFunctions, ", "))
		}
		return nil
	case *parse.NumberNode:
		if n, err := strconv.ParseFloat(a.Text, 64); err != nil || n > maxTemplateNumber {
			return fmt.Errorf("holds the number %s; give at most %d", a.Text, maxTemplateNumber)
		}
		return nil
	}
	return errors.New("may only use fields, strings, numbers and functions")
}

// templateFunctions are those whose result is bounded by their input, or by
// boundedRandom and boundedReplace.
var templateFunctions = []string{
	"and", "eq", "index", "lowercase", "ne", "not", "or", "random", "replace", "sha256",
	"timestamp", "truncate", "truncate_sha256", "unix_time", "unix_time_millis", "uppercase", "uuid",
}

// renderTemplate renders a template that checkTemplateForm accepts.
func renderTemplate(text string, data templateData) (string, error) {
	compiled, err := template.NewTemplate(
		template.Template(text),
		template.Function("random", boundedRandom),
		template.Function("replace", boundedReplace),
	)
	if err != nil {
		return "", err
	}
	name, err := compiled.Generate(data)
	return cleanName(strings.ReplaceAll(name, noValue, "")), err
}

func boundedRandom(length int) (string, error) {
	if length < 0 || length > maxTemplateNumber {
		return "", fmt.Errorf("random %d: give 0 to %d", length, maxTemplateNumber)
	}
	return base62.Random(length)
}

func boundedReplace(find, replacement, text string) (string, error) {
	if len(text)+strings.Count(text, find)*len(replacement) > maxRendered {
		return "", fmt.Errorf("replace: the text becomes longer than %d", maxRendered)
	}
	return strings.ReplaceAll(text, find, replacement), nil
}

// renderName is the middle of a key's name. Where the template gives nothing for
// this caller, the role's name serves: that is no reason to refuse a key.
func (r *keyRole) renderName(who owner) string {
	if r.NameTemplate != "" && checkTemplateForm(r.NameTemplate) == nil {
		name, err := renderTemplate(r.NameTemplate, templateData{
			RoleName: r.name, DisplayName: who.DisplayName, EntityID: who.EntityID, EntityName: who.EntityName, Metadata: who.Metadata,
		})
		if err == nil && name != "" {
			return name
		}
	}
	return cleanName(r.name)
}
