package main

import (
	"cmp"
	"net/url"
)

// What follows is the part of CycloneDX 1.6 that is needed here. Serial number and
// time are left out: they would make each of two equal builds unlike the other.

type sbom struct {
	BOMFormat   string      `json:"bomFormat"`
	SpecVersion string      `json:"specVersion"`
	Version     int         `json:"version"` // of the document
	Metadata    metadata    `json:"metadata"`
	Components  []component `json:"components"`
}

type metadata struct {
	Component component `json:"component"`
}

type component struct {
	BOMRef     string     `json:"bom-ref"`
	Type       string     `json:"type"`
	Name       string     `json:"name"`
	Version    string     `json:"version"`
	Hashes     []hash     `json:"hashes,omitempty"`
	PURL       string     `json:"purl"`
	Properties []property `json:"properties,omitempty"`
}

type hash struct {
	Algorithm string `json:"alg"`
	Content   string `json:"content"`
}

type property struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// purl is the package URL of a Go module.
func purl(path, version string) string {
	return "pkg:golang/" + path + "@" + url.QueryEscape(version) // of +incompatible
}

func (b *binary) sbom(version string) sbom {
	main := component{
		Type: "application", Name: b.name, Version: version,
		Hashes: []hash{{"SHA-256", b.sha256}},
		PURL:   purl(b.info.Main.Path, version) + "?goarch=" + b.setting("GOARCH") + "&goos=" + b.setting("GOOS"),
		Properties: []property{
			{"go:version", b.info.GoVersion},
			{"vcs:commit", b.setting("vcs.revision")},
			{"vcs:modified", b.setting("vcs.modified")},
		},
	}
	main.BOMRef = main.PURL
	s := sbom{
		BOMFormat: "CycloneDX", SpecVersion: "1.6", Version: 1,
		Metadata: metadata{main},
		// Scanners know the standard library by this name.
		Components: []component{library("stdlib", b.goVersion(), "")},
	}
	for _, m := range b.info.Deps {
		m = cmp.Or(m.Replace, m)
		s.Components = append(s.Components, library(m.Path, m.Version, m.Sum))
	}
	return s
}

// library is one that is linked in. The sum is that of go.sum: of a module's files, so
// it is not a hash of any one file.
func library(path, version, sum string) component {
	c := component{Type: "library", Name: path, Version: version, PURL: purl(path, version)}
	c.BOMRef = c.PURL
	if sum != "" {
		c.Properties = []property{{"go:sum", sum}}
	}
	return c
}

// A predicate is that of https://slsa.dev/provenance/v1. Who signs it adds the
// statement around it, with the name and the sum of the binary.
type predicate struct {
	BuildDefinition struct {
		BuildType            string            `json:"buildType"`
		ExternalParameters   map[string]string `json:"externalParameters"`
		InternalParameters   map[string]string `json:"internalParameters"`
		ResolvedDependencies []dependency      `json:"resolvedDependencies"`
	} `json:"buildDefinition"`
	RunDetails struct {
		Builder struct {
			ID string `json:"id"`
		} `json:"builder"`
	} `json:"runDetails"`
}

type dependency struct {
	Name   string            `json:"name"`
	Digest map[string]string `json:"digest"`
}

// buildType is what the parameters below are the parameters of: scripts/build.sh.
const buildType = "urn:vault-plugin-secrets-llm:build:v1"

func (b *binary) provenance(version, builder string) predicate {
	var p predicate
	p.BuildDefinition.BuildType = buildType
	p.BuildDefinition.ExternalParameters = map[string]string{
		"version": version, "goos": b.setting("GOOS"), "goarch": b.setting("GOARCH"),
	}
	p.BuildDefinition.InternalParameters = map[string]string{"go": b.info.GoVersion}
	for _, s := range b.info.Settings {
		p.BuildDefinition.InternalParameters[s.Key] = s.Value
	}
	p.BuildDefinition.ResolvedDependencies = []dependency{
		{"source", map[string]string{"gitCommit": b.setting("vcs.revision")}},
	}
	p.RunDetails.Builder.ID = builder
	return p
}
