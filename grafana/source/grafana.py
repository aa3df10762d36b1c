"""The few parts of Grafana's dashboard model that the dashboards are made of."""

REPOSITORY = "https://github.com/cloakroom/cloakroom"
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
# One fleet, and one server of it. A label that a scrape does not set is matched by `.*`.
FLEET = 'namespace=~"$namespace", job=~"$job"'
POD = FLEET + ', pod=~"$pod"'
WIDTH, HEIGHT = 24, 8


class Query:
    """A question to Prometheus: its expression and the name of what it answers."""

    def __init__(self, expression, legend="", **style):
        self.expression, self.legend, self.style = expression, legend, style


class Panel:
    """A picture of one or a few queries."""

    def __init__(self, title, description, unit, *queries, kind="timeseries", width=8, height=HEIGHT, runbooks=(), **options):
        self.title, self.description, self.unit, self.queries = title, description, unit, queries
        self.kind, self.width, self.height, self.runbooks, self.options = kind, width, height, runbooks, options

    def render(self, number, x, y):
        panel = {
            "id": number,
            "type": self.kind,
            "title": self.title,
            "description": self.description,
            "datasource": DATASOURCE,
            "gridPos": {"x": x, "y": y, "w": self.width, "h": self.height},
            "targets": [self._target(index, query) for index, query in enumerate(self.queries)],
            "fieldConfig": {"defaults": self._defaults(), "overrides": [self._override(q) for q in self.queries if q.style]},
            "options": {
                "timeseries": self._timeseries, "stat": self._stat, "table": self._table, "state-timeline": self._states,
            }[self.kind](),
        }
        if self.runbooks:
            panel["links"] = [
                {"title": f"Runbook: {alert}", "url": f"{REPOSITORY}/blob/main/grafana/runbooks/{alert}.md", "targetBlank": True}
                for alert in self.runbooks
            ]
        if self.kind == "table":
            panel["transformations"] = [{"id": "labelsToFields", "options": {"mode": "columns"}}, {"id": "merge", "options": {}}]
        return panel

    def _target(self, index, query):
        target = {
            "refId": chr(ord("A") + index),
            "datasource": DATASOURCE,
            "editorMode": "code",
            "expr": query.expression,
            "legendFormat": query.legend or "__auto",
        }
        if self.kind in ("stat", "table"):
            return target | {"instant": True, "range": False}
        return target | {"instant": False, "range": True}

    def _defaults(self):
        defaults = {"unit": self.unit, "color": {"mode": "palette-classic"}}
        if "minimum" in self.options:
            defaults["min"] = self.options["minimum"]
        if "maximum" in self.options:
            defaults["max"] = self.options["maximum"]
        if "decimals" in self.options:
            defaults["decimals"] = self.options["decimals"]
        if "red_from" in self.options:
            steps = [{"color": "green", "value": None}, {"color": "red", "value": self.options["red_from"]}]
            defaults |= {"color": {"mode": "thresholds"}, "thresholds": {"mode": "absolute", "steps": steps}}
        elif self.kind == "stat":
            defaults["color"] = {"mode": "fixed", "fixedColor": "blue"}
        if self.kind == "timeseries":
            stacked = self.options.get("stacked", False)
            defaults["custom"] = {
                "drawStyle": "line", "lineWidth": 1, "fillOpacity": 30 if stacked else 8, "showPoints": "never",
                "spanNulls": 120_000, "stacking": {"mode": "normal" if stacked else "none", "group": "A"},
            }
        if self.kind == "state-timeline":
            defaults["mappings"] = [{"type": "value", "options": {
                "0": {"text": " ", "color": "transparent"}, "1": {"text": "leads", "color": "green"},
            }}]
        return defaults

    def _override(self, query):
        properties = [{"id": name, "value": value} for name, value in query.style.items()]
        return {"matcher": {"id": "byName", "options": query.legend}, "properties": properties}

    def _timeseries(self):
        return {
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
            "tooltip": {"mode": "multi", "sort": "desc"},
        }

    def _stat(self):
        named = self.options.get("show", "value") == "name"
        return {
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
            "textMode": "name" if named else "value", "colorMode": "value", "graphMode": "none", "justifyMode": "auto",
        }

    def _table(self):
        return {"showHeader": True, "cellHeight": "sm"}

    def _states(self):
        return {"showValue": "auto", "mergeValues": True, "rowHeight": 0.8, "legend": {"showLegend": False}}


class Row:
    """A heading and the panels below it, laid out from left to right."""

    def __init__(self, title, *panels):
        self.title, self.panels = title, panels


def band(signal, unit_name):
    """The queries of a signal with the band of what is normal; there is none before a day and two hours have passed."""
    matcher = f'{FLEET}, signal="{signal}"'
    hidden = {"custom.lineWidth": 0, "custom.fillOpacity": 0, "color": {"mode": "fixed", "fixedColor": "green"}}
    return (
        Query(f"sum(cloakroom:signal{{{matcher}}})", unit_name, **{"color": {"mode": "fixed", "fixedColor": "blue"},
                                                                  "custom.lineWidth": 2, "custom.fillOpacity": 0}),
        Query(f"sum(cloakroom:signal:lower{{{matcher}}})", "normal from", **hidden),
        Query(f"sum(cloakroom:signal:upper{{{matcher}}})", "normal to",
              **hidden | {"custom.fillBelowTo": "normal from", "custom.fillOpacity": 12}),
    )


def quantiles(metric, by, matcher, *shares):
    """Quantiles of a histogram; zero, not nothing, where nothing was observed for a while."""
    buckets = f"sum by ({', '.join(filter(None, ['le', by]))}) (rate({metric}_bucket{{{matcher}}}[$__rate_interval]))"
    counts = f"0 * sum{f' by ({by})' if by else ''} (rate({metric}_count{{{matcher}}}[$__rate_interval]))"
    legend = f"{{{{{by}}}}} " if by else ""
    return tuple(
        Query(f"histogram_quantile({share}, {buckets}) >= 0 or {counts}", f"{legend}p{share * 100:g}") for share in shares
    )


def variable(name, label, matcher, everything):
    return {
        "name": name, "label": label, "type": "query", "datasource": DATASOURCE, "refresh": 2, "sort": 1,
        "query": {"query": f"label_values(cloakroom_build_info{matcher}, {name})", "refId": name},
        "definition": f"label_values(cloakroom_build_info{matcher}, {name})",
        "multi": True, "includeAll": True, "allValue": everything, "current": {"text": "All", "value": "$__all"},
    }


def dashboard(uid, title, description, rows, with_pods):
    variables = [
        {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus", "current": {}},
        variable("namespace", "Namespace", "", ".*"),
        variable("job", "Job", '{namespace=~"$namespace"}', ".+"),
    ]
    if with_pods:
        variables.append(variable("pod", "Pod", f"{{{FLEET}}}", ".*"))
    panels, y = [], 0
    for row in rows:
        panels.append({"id": len(panels) + 1, "type": "row", "title": row.title, "collapsed": False, "panels": [],
                       "gridPos": {"x": 0, "y": y, "w": WIDTH, "h": 1}})
        y += 1
        x = line = 0
        for panel in row.panels:
            if x + panel.width > WIDTH:
                x, y, line = 0, y + line, 0
            panels.append(panel.render(len(panels) + 1, x, y))
            x, line = x + panel.width, max(line, panel.height)
        y += line
    return {
        "uid": uid, "title": title, "description": description, "tags": ["cloakroom"], "schemaVersion": 39, "version": 1,
        "editable": False, "graphTooltip": 1, "refresh": "30s", "time": {"from": "now-6h", "to": "now"}, "timezone": "browser",
        "templating": {"list": variables},
        "annotations": {"list": [{
            "name": "Alerts", "datasource": DATASOURCE, "enable": True, "iconColor": "red", "titleFormat": "{{alertname}}",
            "expr": f'ALERTS{{alertname=~"Cloakroom.+", alertstate="firing", {FLEET}}}', "step": "60s",
        }]},
        "links": [
            {"title": "Cloakroom", "type": "dashboards", "tags": ["cloakroom"], "includeVars": True, "keepTime": True},
            {"title": "Runbooks", "type": "link", "url": f"{REPOSITORY}/tree/main/grafana/runbooks", "targetBlank": True},
        ],
        "panels": panels,
    }
