"""What a schema can't say: the rendered chart against what the service knows, and its alerts against the metrics that there are.

    meaning.py RENDERED…      each file is the output of `helm template`

Exits with 1 at the first wrong thing. Each rule is also tried on output that was broken on purpose, and must object to it.
"""

import copy
import json
import pathlib
import re
import subprocess
import sys

import yaml

ROOT = pathlib.Path(__file__).resolve().parent.parent
SOURCE = {p: p.read_text() for p in sorted((ROOT / "src").rglob("*.rs"))}
MIB = {"Ki": 1 / 1024, "Mi": 1, "Gi": 1024}


def source(path):
    return SOURCE[ROOT / "src" / path]


def texts_of(name, path):
    """The texts in the constant `name` of a source file."""
    found = re.search(rf"\b{name}: &\[&str\] = &\[(.*?)\];", source(path), re.S)
    assert found, f"{name} is not in src/{path} as expected"
    return re.findall(r'"([a-z0-9_]+)"', found[1])


def known_variables():
    """The variables that the service takes, from its own tables."""
    keys = texts_of("KEYS", "config/keys.rs")
    files = texts_of("FROM_FILE", "config/keys.rs")
    limits = re.search(r"^limits! \{(.*?)^\}", source("config/limits.rs"), re.S | re.M)[1]
    policy = re.search(r"pub struct AuthPolicy \{(.*?)^\}", source("domain/policy.rs"), re.S | re.M)[1]
    names = {f"QEETID_{k.upper()}" for k in keys if k != "otlp_endpoint"} | {f"QEETID_{k.upper()}_FILE" for k in files}
    names |= {f"QEETID_LIMIT__{n.upper()}" for n in re.findall(r"^\s+(\w+): \d", limits, re.M)}
    names |= {f"QEETID_POLICY__{n.upper()}" for n in re.findall(r"^\s+pub (\w+):", policy, re.M)}
    assert len(names) > 50 and "QEETID_POLICY__PASSWORD_MIN_LENGTH" in names and "QEETID_LIMIT__SIGNUPS" in names, sorted(names)
    return names | {"OTEL_EXPORTER_OTLP_ENDPOINT"}, {f"QEETID_{k.upper()}" for k in files} | {"QEETID_CLUSTER_COOKIE"}


def known_metrics():
    """The metrics that the source records, as Prometheus calls them."""
    found = set()
    for kind, name in re.findall(r'\b(counter|gauge|histogram)!\(\s*"(qeetid_\w+)"', "\n".join(SOURCE.values())):
        found |= {f"{name}_{part}" for part in ("bucket", "sum", "count")} if kind == "histogram" else {name}
    # Names that are chosen before they are recorded.
    found |= set(re.findall(r'[{=] "(qeetid_\w+_total)"', "\n".join(SOURCE.values())))
    assert "qeetid_hash_wait_seconds_bucket" in found, sorted(found)
    return found


VARIABLES, SECRETS = known_variables()
PATHS = set(json.loads((ROOT / "openapi" / "openapi.json").read_text())["paths"])
METRICS = known_metrics()
DRAIN = int(re.search(r"const DRAIN: Duration = Duration::from_secs\((\d+)\)", source("app/mod.rs"))[1])


def mib(text):
    number, unit = re.fullmatch(r"(\d+)(Ki|Mi|Gi)", text).groups()
    return int(number) * MIB[unit]


def pods(docs):
    for doc in docs:
        if doc["kind"] in ("StatefulSet", "Job"):
            yield doc, doc["spec"]["template"]["spec"]


def containers(docs):
    for doc, pod in pods(docs):
        assert not pod.get("initContainers"), "init containers are not looked at here"
        for container in pod["containers"]:
            yield doc, pod, container


def environment(container):
    env = {e["name"]: e for e in container["env"]}
    assert len(env) == len(container["env"]), "a variable is set twice"
    return env


def no_secret_in_the_output(docs):
    assert not [d for d in docs if d["kind"] == "Secret"], "the chart makes a Secret"
    for _, _, container in containers(docs):
        for name, entry in environment(container).items():
            assert name not in SECRETS or "secretKeyRef" in entry.get("valueFrom", {}), f"{name} is in the open"
            assert "@" not in re.sub(r"<[^>]*>", "", entry.get("value", "")), f"{name} looks like a URL with a password"


def every_variable_is_known(docs):
    for _, _, container in containers(docs):
        for name in environment(container):
            assert name in VARIABLES, f"the service knows no {name}"


def nothing_runs_as_root_or_writes_to_its_image(docs):
    for _, pod, container in containers(docs):
        for context in (pod["securityContext"], container["securityContext"]):
            assert context["runAsNonRoot"] is True and context["runAsUser"] > 0
            assert context["seccompProfile"]["type"] == "RuntimeDefault"
        own = container["securityContext"]
        assert own["readOnlyRootFilesystem"] is True and own["allowPrivilegeEscalation"] is False and own["privileged"] is False
        assert own["capabilities"] == {"drop": ["ALL"]}
        assert pod["automountServiceAccountToken"] is False and not pod.get("hostNetwork") and not pod.get("hostPID")


def every_mount_has_a_volume(docs):
    for doc, pod, container in containers(docs):
        volumes = {v["name"] for v in pod["volumes"]} | {c["metadata"]["name"] for c in doc["spec"].get("volumeClaimTemplates", [])}
        mounts = {m["name"]: m["mountPath"] for m in container["volumeMounts"]}
        assert set(mounts) <= volumes, f"{set(mounts) - volumes} are mounted, but no volumes"
        for name, entry in environment(container).items():
            value = entry.get("value", "")
            if value.startswith("/"):
                assert any(value == at or value.startswith(at + "/") for at in mounts.values()), f"{name}={value} is not mounted"
        files = {i["path"] for v in pod["volumes"] if v["name"] == "secrets" for s in v["projected"]["sources"] for i in s["secret"]["items"]}
        for name, entry in environment(container).items():
            if name.endswith("_FILE"):
                assert entry["value"].rsplit("/", 1)[1] in files, f"{name}: no such file in the volume"


def probes_ask_what_there_is(docs):
    for doc, _, container in containers(docs):
        if doc["kind"] == "Job":
            continue
        ports = {p["name"]: p["containerPort"] for p in container["ports"]}
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            ask = container[probe]["httpGet"]
            assert ask["path"] in PATHS, f"{probe}: there is no {ask['path']}"
            assert str(ports[ask["port"]]) == environment(container)["QEETID_LISTEN"]["value"].rsplit(":", 1)[1], f"{probe}: another port"
        assert container["livenessProbe"]["httpGet"]["path"] == "/healthz", "a store that is away must not restart all nodes"


def memory_holds_the_pool(docs):
    for doc, _, container in containers(docs):
        env, resources = environment(container), container["resources"]
        threads, kib = int(env["QEETID_HASH_THREADS"]["value"]), int(re.match(r"m=(\d+)", env["QEETID_ARGON2"]["value"])[1])
        needed = threads * max(19, kib / 1024) + 100
        assert mib(resources["requests"]["memory"]) >= needed, f"{doc['kind']}: {threads} threads need {needed} MiB"
        assert mib(resources["limits"]["memory"]) >= mib(resources["requests"]["memory"])


def the_drain_has_time(docs):
    for doc, pod in pods(docs):
        if doc["kind"] == "StatefulSet":
            assert pod["terminationGracePeriodSeconds"] >= DRAIN + 5, "SIGKILL would come before the drain ends"


def selectors_find_the_nodes_and_nothing_else(docs):
    labels = {d["kind"]: d["spec"]["template"]["metadata"]["labels"] for d, _ in pods(docs)}
    services = {d["metadata"]["name"]: d for d in docs if d["kind"] == "Service"}
    stateful = next(d for d in docs if d["kind"] == "StatefulSet")
    assert services[stateful["spec"]["serviceName"]]["spec"]["clusterIP"] == "None"
    found = [("Service", d["spec"]["selector"]) for d in services.values()] + [("StatefulSet", stateful["spec"]["selector"]["matchLabels"])]
    found += [("NetworkPolicy", d["spec"]["podSelector"]["matchLabels"]) for d in docs if d["kind"] == "NetworkPolicy"]
    found += [("PodDisruptionBudget", d["spec"]["selector"]["matchLabels"]) for d in docs if d["kind"] == "PodDisruptionBudget"]
    for what, selector in found:
        assert selector.items() <= labels["StatefulSet"].items(), f"{what} does not find the nodes"
        assert "Job" not in labels or not selector.items() <= labels["Job"].items(), f"{what} finds the migration"
    for monitor in (d for d in docs if d["kind"] == "ServiceMonitor"):
        wanted, port = monitor["spec"]["selector"]["matchLabels"], monitor["spec"]["endpoints"][0]["port"]
        hit = [d for d in services.values() if wanted.items() <= d["metadata"]["labels"].items()]
        assert len(hit) == 1 and port in {p["name"] for p in hit[0]["spec"]["ports"]}, "ServiceMonitor does not find the metrics"


def the_cluster_port_is_for_nodes_alone(docs):
    stateful = next(d for d in docs if d["kind"] == "StatefulSet")
    for policy in (d for d in docs if d["kind"] == "NetworkPolicy"):
        for rule in policy["spec"]["ingress"]:
            names = {p["port"] for p in rule["ports"]}
            assert "metrics" not in names or rule["from"], "metrics are open to all"
            if "cluster" in names:
                assert rule["from"] == [{"podSelector": {"matchLabels": stateful["spec"]["selector"]["matchLabels"]}}]
                assert names == {"cluster"}


def expressions(docs):
    rules = [r for d in docs if d["kind"] == "PrometheusRule" for g in d["spec"]["groups"] for r in g["rules"]]
    return rules


def alerts_ask_for_metrics_that_there_are(docs):
    rules = expressions(docs)
    if not rules:
        return
    parsed = subprocess.run(["node", ROOT / "helm" / "promql.mjs", ROOT / "target" / "helm" / "node"],
                            input=json.dumps([r["expr"] for r in rules]), capture_output=True, text=True)
    assert parsed.returncode == 0, parsed.stderr
    for rule, names in zip(rules, json.loads(parsed.stdout), strict=True):
        assert names, f"{rule['expr']}: asks for nothing"
        assert set(names) <= METRICS | {"up"}, f"{rule['expr']}: the service has no {set(names) - METRICS}"
    book = (ROOT / "docs" / "operations.md").read_text()
    for rule in rules:
        assert "alert" not in rule or f"\n### {rule['alert']}\n" in book, f"{rule['alert']} has no runbook in docs/operations.md"


RULES = [no_secret_in_the_output, every_variable_is_known, nothing_runs_as_root_or_writes_to_its_image, every_mount_has_a_volume,
         probes_ask_what_there_is, memory_holds_the_pool, the_drain_has_time, selectors_find_the_nodes_and_nothing_else,
         the_cluster_port_is_for_nodes_alone, alerts_ask_for_metrics_that_there_are]


def broken(docs):
    """The output, broken once for each rule (and some twice)."""
    def change(rule, kind, do):
        copied = copy.deepcopy(docs)
        do(next(d for d in copied if d["kind"] == kind)["spec"])
        return rule, copied

    def node(do):
        return lambda spec: do(spec["template"]["spec"]["containers"][0])

    def variable(name, value):
        return node(lambda c: c["env"].append({"name": name, "value": value}))

    def put(at, name, value):
        return lambda c: c[at].__setitem__(name, value)

    yield change(no_secret_in_the_output, "StatefulSet", variable("QEETID_SECRET", "00"))
    yield change(no_secret_in_the_output, "Job", variable("QEETID_OTHER", "smtp://u:p@h"))
    yield change(every_variable_is_known, "StatefulSet", variable("QEETID_LISTNE", "x"))
    yield change(nothing_runs_as_root_or_writes_to_its_image, "Job", node(put("securityContext", "readOnlyRootFilesystem", False)))
    yield change(nothing_runs_as_root_or_writes_to_its_image, "StatefulSet", node(put("securityContext", "runAsUser", 0)))
    yield change(every_mount_has_a_volume, "StatefulSet", lambda s: s["template"]["spec"]["volumes"].pop())
    yield change(every_mount_has_a_volume, "StatefulSet", variable("QEETID_SMS_URL_FILE2", "/nowhere"))
    yield change(probes_ask_what_there_is, "StatefulSet", node(put("livenessProbe", "httpGet", {"path": "/health", "port": "http"})))
    yield change(memory_holds_the_pool, "StatefulSet", node(lambda c: c["resources"]["requests"].update(memory="150Mi")))
    yield change(the_drain_has_time, "StatefulSet", lambda s: s["template"]["spec"].update(terminationGracePeriodSeconds=20))
    yield change(selectors_find_the_nodes_and_nothing_else, "PodDisruptionBudget", lambda s: s["selector"]["matchLabels"].update(x="y"))
    yield change(selectors_find_the_nodes_and_nothing_else, "Service", lambda s: s["selector"].pop("app.kubernetes.io/component"))
    yield change(the_cluster_port_is_for_nodes_alone, "NetworkPolicy", lambda s: s["ingress"][2].update({"from": [{"podSelector": {}}]}))
    for bad in ("rate(qeetid_nothing_total[5m])", "rate(qeetid_rehash_total[5m]"):
        yield change(alerts_ask_for_metrics_that_there_are, "PrometheusRule", lambda s, bad=bad: s["groups"][1]["rules"][0].update(expr=bad))


def main(files):
    passed = 0
    for file in files:
        docs = [d for d in yaml.safe_load_all(pathlib.Path(file).read_text()) if d]
        for rule in RULES:
            try:
                rule(docs)
            except (AssertionError, KeyError) as e:
                sys.exit(f"meaning: {file}: {rule.__name__}: {e!r}")
            passed += 1
    tried = set()
    docs = [d for d in yaml.safe_load_all(next(pathlib.Path(f) for f in files if "cluster-1.37" in f).read_text()) if d]
    for rule, worse in broken(docs):
        try:
            rule(worse)
        except (AssertionError, KeyError):
            tried.add(rule)
            passed += 1
            continue
        sys.exit(f"meaning: {rule.__name__} does not see what is broken")
    assert tried == set(RULES), f"not tried: {set(RULES) - tried}"
    print(f"meaning: {passed} passed, 0 failed")


main(sys.argv[1:])
