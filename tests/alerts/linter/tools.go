//go:build tools

// Package linter pins Grafana's dashboard-linter and all that it is made of.
package linter

import _ "github.com/grafana/dashboard-linter"
