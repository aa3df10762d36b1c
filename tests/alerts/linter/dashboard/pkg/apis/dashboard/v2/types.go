// Package v2 stands for the types of v2 dashboards, which the linter reads besides the classic ones. The module that
// has them cannot be had from every proxy, and no dashboard here is a v2 one: these types are only what the linter
// needs to be compiled, and nothing is ever read into them.
package v2

// DashboardSpec is a v2 dashboard.
type DashboardSpec struct {
	Title       string
	Editable    *bool
	Elements    map[string]DashboardElement
	Variables   []DashboardVariableKind
	Annotations []DashboardAnnotationQueryKind
}

// DashboardElement is a panel, or refers to one.
type DashboardElement struct{ PanelKind *PanelKind }

// PanelKind is a panel.
type PanelKind struct{ Spec DashboardPanelSpec }

// DashboardPanelSpec is what a panel shows.
type DashboardPanelSpec struct {
	Id                 float64
	Title, Description string
	VizConfig          VizConfig
	Data               struct {
		Spec struct{ Queries []DashboardPanelQueryKind }
	}
}

// VizConfig is how a panel shows it.
type VizConfig struct {
	Group string
	Spec  struct{ FieldConfig, Options any }
}

// DashboardPanelQueryKind is a query of a panel.
type DashboardPanelQueryKind struct {
	Spec struct {
		RefId  string
		Hidden bool
		Query  DashboardDataQueryKind
	}
}

// DashboardDataQueryKind is a query.
type DashboardDataQueryKind struct {
	Group      string
	Datasource *struct{ Name *string }
	Spec       map[string]any
}

// DashboardAnnotationQueryKind is a query for annotations.
type DashboardAnnotationQueryKind struct {
	Spec struct {
		Name  string
		Query DashboardDataQueryKind
	}
}

// DashboardVariableRefresh is when a variable's values are asked for.
type DashboardVariableRefresh string

// When a variable's values are asked for.
const (
	DashboardVariableRefreshOnTimeRangeChanged DashboardVariableRefresh = "onTimeRangeChanged"
	DashboardVariableRefreshOnDashboardLoad    DashboardVariableRefresh = "onDashboardLoad"
)

// DashboardVariableKind is a variable of one kind.
type DashboardVariableKind struct {
	QueryVariableKind *struct {
		Spec struct {
			Name            string
			Label, AllValue *string
			Multi           bool
			Refresh         DashboardVariableRefresh
			Query           DashboardDataQueryKind
		}
	}
	DatasourceVariableKind *struct {
		Spec struct {
			Name, PluginId  string
			Label, AllValue *string
			Multi           bool
			Refresh         DashboardVariableRefresh
		}
	}
	CustomVariableKind *struct {
		Spec struct {
			Name, Query     string
			Label, AllValue *string
			Multi           bool
		}
	}
	IntervalVariableKind, ConstantVariableKind, TextVariableKind *struct {
		Spec struct {
			Name, Query string
			Label       *string
		}
	}
	AdhocVariableKind, SwitchVariableKind *struct {
		Spec struct {
			Name  string
			Label *string
		}
	}
	GroupByVariableKind *struct {
		Spec struct {
			Name  string
			Label *string
			Multi bool
		}
	}
}
