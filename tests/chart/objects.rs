//! The objects that the chart makes.

use std::collections::HashSet;

use serde_json::{Value, json};

use crate::{bundled, has_helm, helm, renderings};

const SCALED: &[&str] = &["--set", "autoscaling.enabled=true"];

fn strings(list: &Value) -> Vec<&str> {
    let items = list.as_array().into_iter().flatten();
    items.map(|item| item.as_str().unwrap()).collect()
}

#[test]
fn every_object_has_a_name_a_namespace_and_the_recommended_labels() {
    if !has_helm() {
        return;
    }
    for (file, rendered) in renderings() {
        let names = rendered.names();
        let different: HashSet<_> = names.iter().collect();
        assert_eq!(different.len(), names.len(), "{file}: {names:?}");
        for object in &rendered.objects {
            let metadata = &object["metadata"];
            let name = metadata["name"].as_str().unwrap();
            assert!(name.len() <= 63, "{file}: {name}");
            let of_the_chart = metadata["labels"]["helm.sh/chart"].is_string();
            let foreign = name.starts_with("own-") || name.ends_with("-environment");
            assert!(of_the_chart || foreign, "{file}: {name} has no labels");
            if of_the_chart {
                let cluster_wide = object["kind"].as_str().unwrap().starts_with("Cluster");
                assert!(cluster_wide || metadata["namespace"] == "sessions", "{file}: {name}");
                for label in ["name", "instance", "component", "version", "managed-by"] {
                    let label = format!("app.kubernetes.io/{label}");
                    assert!(metadata["labels"][&label].is_string(), "{file}: {name} has no {label}");
                }
            }
        }
    }
}

/// The *restricted* Pod Security Standard, and a read-only root besides.
#[test]
fn every_pod_fits_the_restricted_standard_with_a_read_only_root() {
    if !has_helm() {
        return;
    }
    for (file, rendered) in renderings() {
        for (name, pod) in rendered.pods() {
            let at = format!("{file}: {name}");
            assert_eq!(pod["securityContext"]["runAsNonRoot"], true, "{at}");
            assert_eq!(
                pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault",
                "{at}"
            );
            let containers = ["containers", "initContainers"]
                .iter()
                .filter_map(|list| pod[list].as_array());
            for container in containers.flatten() {
                let context = &container["securityContext"];
                assert_eq!(context["allowPrivilegeEscalation"], false, "{at}");
                assert_eq!(context["readOnlyRootFilesystem"], true, "{at}");
                assert_eq!(context["capabilities"], json!({"drop": ["ALL"]}), "{at}");
            }
        }
    }
}

#[test]
fn only_what_asks_kubernetes_gets_a_token() {
    if !has_helm() {
        return;
    }
    let mounts = |rendered: &helm::Rendered| {
        let pods = rendered.pods();
        let with = pods
            .into_iter()
            .filter(|(_, pod)| pod["automountServiceAccountToken"] != false);
        with.map(|(name, _)| name).collect::<Vec<_>>()
    };
    assert_eq!(mounts(&bundled(&[])), ["Deployment cloakroom"]);
    let off = bundled(&["--set", "kubernetes.enabled=false"]);
    assert!(mounts(&off).is_empty());
    for kind in ["Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding", "Lease"] {
        assert!(off.of_kind(kind).is_empty(), "{kind}");
    }
    assert_eq!(
        bundled(&[]).of_kind("ServiceAccount")[0]["automountServiceAccountToken"],
        false
    );
}

#[test]
fn the_role_holds_just_these_verbs() {
    if !has_helm() {
        return;
    }
    let rendered = bundled(&[]);
    let role = rendered.object("Role", "cloakroom");
    let mut allowed = Vec::new();
    for rule in role["rules"].as_array().unwrap() {
        for resource in strings(&rule["resources"]) {
            let group = rule["apiGroups"][0].as_str().unwrap();
            let of = if rule["resourceNames"].is_array() {
                " of its own"
            } else {
                ""
            };
            allowed.extend(
                strings(&rule["verbs"])
                    .iter()
                    .map(|verb| format!("{verb} {resource}.{group}{of}")),
            );
        }
    }
    allowed.sort();
    assert_eq!(
        allowed,
        [
            "create events.events.k8s.io",
            "get leases.coordination.k8s.io of its own",
            "list endpointslices.discovery.k8s.io",
            "patch events.events.k8s.io",
            "update leases.coordination.k8s.io of its own",
            "watch endpointslices.discovery.k8s.io",
        ]
    );
    // No verb makes the Lease: it comes with the release, and nothing in it is helm's to set back.
    let lease = rendered.object("Lease", "cloakroom");
    assert_eq!(lease.get("spec"), None);
    assert!(rendered.of_kind("ClusterRole").is_empty());
    let accounts =
        "serviceAccounts[0].namespace=shop,serviceAccounts[0].name=web,serviceAccounts[0].scopes={sessions:read}";
    let rules = bundled(&["--set", accounts]).of_kind("ClusterRole")[0]["rules"].clone();
    let reviews = json!([{"apiGroups": ["authentication.k8s.io"], "resources": ["tokenreviews"], "verbs": ["create"]}]);
    assert_eq!(rules, reviews);
}

#[test]
fn an_autoscaler_and_replicas_exclude_each_other() {
    if !has_helm() {
        return;
    }
    assert_eq!(bundled(&[]).object("Deployment", "cloakroom")["spec"]["replicas"], 2);
    assert!(bundled(&[]).of_kind("HorizontalPodAutoscaler").is_empty());
    let scaled = bundled(SCALED);
    assert_eq!(scaled.object("Deployment", "cloakroom")["spec"].get("replicas"), None);
    let autoscaler = scaled.object("HorizontalPodAutoscaler", "cloakroom");
    assert_eq!(autoscaler["apiVersion"], "autoscaling/v2");
    assert_eq!(autoscaler["spec"]["behavior"]["scaleDown"]["policies"][0]["value"], 1);
}

#[test]
fn a_roll_takes_no_pod_before_another_is_ready() {
    if !has_helm() {
        return;
    }
    let rendered = bundled(&[]);
    let spec = &rendered.object("Deployment", "cloakroom")["spec"];
    assert_eq!(spec["strategy"]["rollingUpdate"]["maxUnavailable"], 0);
    let pod = &spec["template"]["spec"];
    let container = &pod["containers"][0];
    for (probe, path) in [
        ("startupProbe", "/livez"),
        ("livenessProbe", "/livez"),
        ("readinessProbe", "/readyz"),
    ] {
        assert_eq!(
            container[probe]["httpGet"],
            json!({"path": path, "port": "admin"}),
            "{probe}"
        );
    }
    assert_eq!(container["lifecycle"]["preStop"]["sleep"]["seconds"], 3);
    assert_eq!(pod["enableServiceLinks"], false);
    let other = bundled(&["--set", "config.session.max_per_user=3"]);
    let checksum = |rendered: &helm::Rendered| {
        let template = &rendered.object("Deployment", "cloakroom")["spec"]["template"];
        template["metadata"]["annotations"]["checksum/config"].clone()
    };
    assert_ne!(checksum(&rendered), checksum(&other), "other settings replace the pods");
}

#[test]
fn the_budget_lets_one_pod_go_unless_told_otherwise() {
    if !has_helm() {
        return;
    }
    let budget = |arguments: &[&str]| bundled(arguments).object("PodDisruptionBudget", "cloakroom")["spec"].clone();
    assert_eq!(budget(&[])["maxUnavailable"], 1);
    let percent = budget(&["--set", "podDisruptionBudget.minAvailable=50%"]);
    assert_eq!(
        (&percent["minAvailable"], percent.get("maxUnavailable")),
        (&json!("50%"), None)
    );
}

#[test]
fn images_are_named_by_registry_repository_tag_and_digest() {
    if !has_helm() {
        return;
    }
    let image = |values: &str| {
        let rendered = bundled(&["--set", values]);
        let pod = &rendered.object("Deployment", "cloakroom")["spec"]["template"]["spec"];
        pod["containers"][0]["image"].as_str().unwrap().to_owned()
    };
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(
        image("image.registry=r.example"),
        format!("r.example/cloakroom/cloakroom:{version}")
    );
    assert_eq!(image("image.registry=,image.repository=a/b,image.tag=v1"), "a/b:v1");
    let digest = format!("sha256:{}", "ab".repeat(32));
    let by_digest = image(&format!(
        "image.registry=,image.repository=a/b,image.tag=v1,image.digest={digest}"
    ));
    assert_eq!(by_digest, format!("a/b@{digest}"));
}

/// The ports and peers of every egress rule.
fn egress(rendered: &helm::Rendered, name: &str) -> Vec<(Vec<String>, bool)> {
    let rules = rendered.object("NetworkPolicy", name)["spec"]["egress"]
        .as_array()
        .unwrap()
        .clone();
    let port = |port: &Value| {
        format!(
            "{}/{}",
            port["port"].to_string().trim_matches('"'),
            port["protocol"].as_str().unwrap()
        )
    };
    rules
        .iter()
        .map(|rule| {
            let ports = rule["ports"].as_array().unwrap();
            (ports.iter().map(port).collect(), rule["to"].is_array())
        })
        .collect()
}

#[test]
fn a_network_policy_lets_out_what_is_needed_and_nothing_else() {
    if !has_helm() {
        return;
    }
    assert!(bundled(&[]).of_kind("NetworkPolicy").is_empty());
    let on = ["--set", "networkPolicy.enabled=true"];
    let ports = |list: &[&str]| list.iter().map(|port| (*port).to_owned()).collect::<Vec<_>>();
    let dns = (ports(&["53/UDP", "53/TCP"]), true);
    let rendered = bundled(&on);
    let api = (ports(&["443/TCP", "6443/TCP"]), false);
    assert_eq!(
        egress(&rendered, "cloakroom"),
        [dns.clone(), (ports(&["redis/TCP"]), true), api]
    );
    let nodes = (ports(&["redis/TCP", "bus/TCP"]), true);
    assert_eq!(egress(&rendered, "cloakroom-redis"), [dns.clone(), nodes]);

    let own = "redis.urls={rediss://a:7000,rediss://b:7001,rediss://c:7000,rediss://d}";
    let more = "kubernetes.enabled=false,jwt.jwksUrl=https://id.example.com/keys,config.otlp.endpoint=http://otlp:4317,config.webhooks.shop.url=https://shop.example.com";
    let rendered = helm::render(&[&on[..], &["--set", own, "--set", more]].concat()).unwrap();
    let rules = [
        dns,
        (ports(&["7000/TCP", "7001/TCP", "6379/TCP"]), false),
        (ports(&["4317/TCP", "4318/TCP"]), false),
        (ports(&["443/TCP"]), false),
        (ports(&["443/TCP"]), false),
    ];
    assert_eq!(egress(&rendered, "cloakroom"), rules);
    assert_eq!(rendered.of_kind("NetworkPolicy").len(), 1);
}

#[test]
fn requests_of_a_visitor_can_be_kept_at_one_pod() {
    if !has_helm() {
        return;
    }
    let ingress = |values: &str| {
        let rendered = bundled(&[
            "--set",
            "ingress.enabled=true,ingress.hosts[0].host=a.example",
            "--set",
            values,
        ]);
        rendered.object("Ingress", "cloakroom")["metadata"]["annotations"].clone()
    };
    let haproxy = ingress("ingress.cookieAffinity=haproxy-ingress");
    assert_eq!(
        haproxy["haproxy-ingress.github.io/balance-algorithm"],
        "hash req.cook(__Host-cloakroom)"
    );
    let nginx = ingress("ingress.cookieAffinity=ingress-nginx");
    assert_eq!(
        nginx["nginx.ingress.kubernetes.io/upstream-hash-by"],
        "$cloakroom_cookie"
    );
    assert_eq!(ingress("config.cookie.name=sid"), Value::Null);

    let route = "httpRoute.enabled=true,httpRoute.parentRefs[0].name=public";
    let envoy = bundled(&["--set", route, "--set", "httpRoute.cookieAffinity=envoy-gateway"]);
    let policy = &envoy.object("BackendTrafficPolicy", "cloakroom")["spec"]["loadBalancer"]["consistentHash"];
    assert_eq!(policy["cookie"]["name"], "__Host-cloakroom");
    let named = "httpRoute.cookieAffinity=istio,config.cookie.name=sid";
    let istio = bundled(&["--set", route, "--set", named]);
    let rule = &istio.object("DestinationRule", "cloakroom")["spec"]["trafficPolicy"]["loadBalancer"]["consistentHash"];
    assert_eq!(rule["httpCookie"]["name"], "sid");
    assert_eq!(bundled(&["--set", route]).of_kind("HTTPRoute").len(), 1);
}

#[test]
fn monitors_scrape_the_admin_port_of_the_fleet() {
    if !has_helm() {
        return;
    }
    let rendered = bundled(&["--set", "metrics.serviceMonitor.enabled=true"]);
    let monitor = rendered.object("ServiceMonitor", "cloakroom");
    let wanted = monitor["spec"]["selector"]["matchLabels"].as_object().unwrap();
    let selected: Vec<_> = rendered
        .of_kind("Service")
        .into_iter()
        .filter(|service| {
            wanted
                .iter()
                .all(|(label, value)| service["metadata"]["labels"][label] == *value)
        })
        .collect();
    assert_eq!(selected.len(), 1, "one Service, or pods are scraped twice");
    let port = &monitor["spec"]["endpoints"][0]["port"];
    assert!(
        selected[0]["spec"]["ports"]
            .as_array()
            .unwrap()
            .iter()
            .any(|exposed| exposed["name"] == *port)
    );
    let rendered = bundled(&["--set", "metrics.podMonitor.enabled=true"]);
    assert_eq!(
        rendered.object("PodMonitor", "cloakroom")["spec"]["podMetricsEndpoints"][0]["port"],
        "admin"
    );
}

#[test]
fn alerts_and_dashboards_are_those_of_the_files() {
    if !has_helm() {
        return;
    }
    let files = |directory: &str| {
        let entries = std::fs::read_dir(helm::chart().join("files").join(directory));
        let names = entries
            .into_iter()
            .flatten()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| !name.starts_with('.')).count()
    };
    let on = "metrics.prometheusRule.enabled=true,metrics.dashboards.enabled=true";
    let named = "metrics.prometheusRule.alertLabels.team=accounts,metrics.prometheusRule.runbookBase=https://r.example";
    let rendered = bundled(&["--set", on, "--set", named]);
    let rules = rendered.of_kind("PrometheusRule");
    assert_eq!(rules.len(), files("alerts"));
    let groups = rules.iter().flat_map(|rule| rule["spec"]["groups"].as_array().unwrap());
    let alerts = groups
        .flat_map(|group| group["rules"].as_array().unwrap())
        .filter(|rule| rule["alert"].is_string());
    for alert in alerts {
        assert_eq!(alert["labels"]["team"], "accounts", "{alert}");
        assert!(alert["labels"]["severity"].is_string(), "{alert}");
        let runbook = alert["annotations"]["runbook_url"].as_str().unwrap();
        assert!(runbook.starts_with("https://r.example/grafana/runbooks/"), "{runbook}");
    }
    let is_dashboard = |map: &&&Value| map["metadata"]["labels"]["grafana_dashboard"] == "1";
    let maps = rendered.of_kind("ConfigMap");
    let dashboards: Vec<_> = maps.iter().filter(is_dashboard).collect();
    assert_eq!(dashboards.len(), files("dashboards"));
    for map in dashboards {
        for text in map["data"].as_object().unwrap().values() {
            let dashboard: Value = serde_json::from_str(text.as_str().unwrap()).unwrap();
            assert!(dashboard["title"].is_string(), "{}", map["metadata"]["name"]);
        }
    }
}

#[test]
fn secrets_are_made_where_none_is_named() {
    if !has_helm() {
        return;
    }
    let made = bundled(&[]);
    let of_the_chart: Vec<_> = made
        .of_kind("Secret")
        .iter()
        .map(|secret| secret["metadata"]["name"].clone())
        .collect();
    assert_eq!(of_the_chart.len(), 2, "{of_the_chart:?}");
    let secret = made.object("Secret", "cloakroom-jwt")["data"]["secret"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(secret.len(), 64, "48 characters in base64");
    assert_ne!(
        bundled(&[]).object("Secret", "cloakroom-jwt")["data"]["secret"],
        secret.as_str()
    );
    let named = bundled(&["--set", "jwt.existingSecret=mine,redis.existingSecret=mine"]);
    assert!(named.of_kind("Secret").is_empty());
    let issued = bundled(&["--set", "jwt.jwksUrl=https://id.example.com/keys"]);
    assert!(!issued.names().contains(&"Secret cloakroom-jwt".to_owned()));
    assert!(!issued.settings().contains("jwt.secret_file"));
}

#[test]
fn valkey_is_one_value() {
    if !has_helm() {
        return;
    }
    let rendered = bundled(&["--set", "redis.bundled.engine=valkey"]);
    for (name, pod) in rendered.pods() {
        let image = pod["containers"][0]["image"].as_str().unwrap();
        assert_eq!(image.contains("valkey"), name.contains("redis"), "{name}: {image}");
    }
}
