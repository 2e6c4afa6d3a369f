import TestSupport
import Testing

@testable import APIServer

/// The Python `kubernetes` package: typed and dynamic clients, informers, leader election.
@Suite(.offPool) struct PythonClientTests {
    /// What every script begins with; `wait` gives a condition thirty seconds.
    private static let prelude = """
        import json, sys, threading, time
        from kubernetes import client, config, dynamic, utils, watch
        from kubernetes.client.rest import ApiException
        config.load_kube_config(sys.argv[1])
        core = client.CoreV1Api()
        def wait(what, condition):
            end = time.monotonic() + 30
            while not condition():
                if time.monotonic() > end:
                    raise SystemExit("waited in vain until " + what)
                time.sleep(0.01)
        def fails(status, call, *arguments, **named):
            try:
                call(*arguments, **named)
            except ApiException as error:
                assert error.status == status, error
                return json.loads(error.body)
            raise SystemExit("no error %d of %s" % (status, call.__name__))

        """

    private func run(_ fixture: ServerFixture, _ script: String) async throws {
        let python = try TestClients.python
        let result = try await offPool {
            try Command.run(
                [python, "-c", Self.prelude + script, fixture.adminPath], timeoutSeconds: 60)
        }
        #expect(result.exitCode == 0, "\(result.errorOutput)\(result.output)")
        #expect(result.output.hasSuffix("done\n"), "\(result.output)")
    }

    @Test func typedClient() async throws {
        try await ServerFixture.run { fixture in
            try await run(
                fixture,
                """
                spec = client.V1ServiceSpec(selector={"app": "web"},
                                            ports=[client.V1ServicePort(port=80)])
                service = client.V1Service(
                    metadata=client.V1ObjectMeta(name="web", labels={"a": "b"}), spec=spec)
                made = core.create_namespaced_service("default", service)
                assert made.spec.cluster_ip.startswith("10.96."), made.spec
                assert made.spec.ports[0].target_port == 80
                assert fails(409, core.create_namespaced_service, "default",
                             service)["reason"] == "AlreadyExists"
                bad = client.V1Service(metadata=client.V1ObjectMeta(name="bad"),
                                       spec=client.V1ServiceSpec())
                answer = fails(422, core.create_namespaced_service, "default", bad)
                assert answer["details"]["causes"][0]["field"] == "spec.ports", answer
                patched = core.patch_namespaced_service(
                    "web", "default", {"spec": {"ports": [{"port": 81, "name": "x"},
                                                          {"port": 80, "name": "y"}]}})
                assert [p.port for p in patched.spec.ports] == [80, 81], patched.spec.ports
                stale = made
                stale.metadata.labels = {"a": "c"}
                assert fails(409, core.replace_namespaced_service, "web", "default",
                             stale)["reason"] == "Conflict"
                dry = core.delete_namespaced_service("web", "default", dry_run="All")
                found = core.list_namespaced_service("default", label_selector="a=b")
                assert [s.metadata.name for s in found.items] == ["web"]
                for number in range(25):
                    core.create_namespaced_config_map("default", client.V1ConfigMap(
                        metadata=client.V1ObjectMeta(generate_name="page-"), data={"n": str(number)}))
                names, token = [], None
                while True:
                    page = core.list_namespaced_config_map("default", limit=10, _continue=token)
                    assert len(page.items) <= 10
                    names += [c.metadata.name for c in page.items]
                    token = page.metadata._continue
                    if not token: break
                assert len(set(names)) == len(names) >= 25, names
                core.delete_collection_namespaced_config_map("default")
                assert core.list_namespaced_config_map("default").items == []
                core.delete_namespaced_service("web", "default")
                fails(404, core.read_namespaced_service, "web", "default")
                review = client.AuthorizationV1Api().create_self_subject_access_review(
                    client.V1SelfSubjectAccessReview(spec=client.V1SelfSubjectAccessReviewSpec(
                        resource_attributes=client.V1ResourceAttributes(
                            verb="get", resource="pods"))))
                assert review.status.allowed
                assert client.VersionApi().get_code().minor == "36"
                apps = client.AppsV1Api()
                utils.create_from_dict(client.ApiClient(), {
                    "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"},
                    "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": {
                        "metadata": {"labels": {"a": "b"}},
                        "spec": {"containers": [{"name": "c", "image": "portolan/shell"}]}}}})
                apps.patch_namespaced_deployment_scale("d", "default", {"spec": {"replicas": 3}})
                assert apps.read_namespaced_deployment_scale("d", "default").spec.replicas == 3
                print("done")
                """)
        }
    }

    @Test func appliesOnTheServer() async throws {
        try await ServerFixture.run { fixture in
            try await run(
                fixture,
                """
                def apply(manager, value, **more):
                    return core.patch_namespaced_config_map(
                        "c", "default", {"apiVersion": "v1", "kind": "ConfigMap",
                                         "metadata": {"name": "c"}, "data": {"a": value}},
                        field_manager=manager, _content_type="application/apply-patch+yaml", **more)
                first = apply("one", "1")
                assert [m.manager for m in first.metadata.managed_fields] == ["one"]
                conflict = fails(409, apply, "two", "2")
                assert conflict["details"]["causes"][0]["reason"] == "FieldManagerConflict", conflict
                assert apply("two", "2", force=True).data == {"a": "2"}
                dynamic_client = dynamic.DynamicClient(client.ApiClient())
                maps = dynamic_client.resources.get(api_version="v1", kind="ConfigMap")
                body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "d"},
                        "data": {"x": "1"}}
                maps.server_side_apply(namespace="default", body=body, field_manager="three")
                assert maps.get(name="d", namespace="default").data.x == "1"
                print("done")
                """)
        }
    }

    @Test func dynamicClientWithCustomKinds() async throws {
        try await ServerFixture.run { fixture in
            try await run(
                fixture,
                """
                dyn = dynamic.DynamicClient(client.ApiClient())
                crds = dyn.resources.get(api_version="apiextensions.k8s.io/v1",
                                         kind="CustomResourceDefinition")
                crds.create(body={
                    "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
                    "metadata": {"name": "boats.example.com"},
                    "spec": {"group": "example.com", "scope": "Namespaced",
                             "names": {"plural": "boats", "singular": "boat", "kind": "Boat"},
                             "versions": [{"name": "v1", "served": True, "storage": True, "schema": {
                                 "openAPIV3Schema": {"type": "object", "properties": {"spec": {
                                     "type": "object", "properties": {
                                         "sails": {"type": "integer", "minimum": 1}}}}}}}]}})
                def known():
                    try:
                        return dyn.resources.get(api_version="example.com/v1", kind="Boat")
                    except dynamic.exceptions.ResourceNotFoundError:
                        dyn.resources.invalidate_cache()
                wait("the kind is discovered", known)
                boats = known()
                boats.create(namespace="default", body={
                    "apiVersion": "example.com/v1", "kind": "Boat", "metadata": {"name": "b"},
                    "spec": {"sails": 2}})
                seen = []
                def follow():
                    for event in boats.watch(namespace="default", timeout=30):
                        seen.append((event["type"], event["object"].spec.sails))
                        if len(seen) == 2: return
                thread = threading.Thread(target=follow)
                thread.start()
                wait("the boat is seen", lambda: seen)
                boats.patch(namespace="default", name="b", body={"spec": {"sails": 3}},
                            content_type="application/merge-patch+json")
                thread.join()
                assert seen == [("ADDED", 2), ("MODIFIED", 3)], seen
                try:
                    boats.patch(namespace="default", name="b", body={"spec": {"sails": 0}},
                                content_type="application/merge-patch+json")
                    raise SystemExit("no sails were accepted")
                except dynamic.exceptions.UnprocessibleEntityError as error:
                    assert "spec.sails" in str(error.body)
                crds.delete(name="boats.example.com")
                print("done")
                """)
        }
    }

    /// Lists, follows, resumes where a watch ended, and starts anew where that is too long ago.
    @Test func watchesResumeAndInformersFollow() async throws {
        try await ServerFixture.run { fixture in
            try await run(
                fixture,
                """
                def put(name, value):
                    body = client.V1ConfigMap(metadata=client.V1ObjectMeta(name=name),
                                              data={"v": value})
                    try:
                        return core.create_namespaced_config_map("default", body)
                    except ApiException:
                        return core.replace_namespaced_config_map(name, "default", body)
                put("a", "1")
                start = core.list_namespaced_config_map("default").metadata.resource_version
                put("a", "2"); put("b", "1")
                def events(version):
                    follower = watch.Watch()
                    found = [(e["type"], e["object"].metadata.name) for e in follower.stream(
                        core.list_namespaced_config_map, "default", resource_version=version,
                        timeout_seconds=1)]
                    return found, follower.resource_version
                found, version = events(start)
                assert found == [("MODIFIED", "a"), ("ADDED", "b")], found
                core.delete_namespaced_config_map("b", "default")
                assert events(version)[0] == [("DELETED", "b")]
                try:
                    events("999999999")
                    raise SystemExit("a revision to come was accepted")
                except ApiException as error:
                    assert error.status in (410, 504), error

                from kubernetes.informer import SharedInformer
                informer = SharedInformer(core.list_namespaced_config_map, namespace="default",
                                          label_selector="watched!=no")
                log = []
                for kind in ("ADDED", "MODIFIED", "DELETED"):
                    informer.add_event_handler(
                        kind, lambda o, kind=kind: log.append((kind, o.metadata.name)))
                informer.start()
                wait("the informer has listed", lambda: ("ADDED", "a") in log)
                put("c", "1"); put("c", "2")
                core.patch_namespaced_config_map("c", "default",
                                                 {"metadata": {"labels": {"watched": "no"}}})
                wait("what no longer matches goes", lambda: ("DELETED", "c") in log)
                assert log.index(("ADDED", "c")) < log.index(("MODIFIED", "c"))
                assert [o.metadata.name for o in informer.cache.list()] == ["a"]
                informer.stop()
                print("done")
                """)
        }
    }

    /// A revision whose events are gone: a watch is told so, and an informer lists anew.
    @Test func watchesOfTheDistantPastStartAnew() async throws {
        let kept = "/tmp/api-test-past-\(UInt32.random(in: 0...UInt32.max))"
        defer { _ = try? Command.run(["rm", "-rf", kept]) }
        try await ServerFixture.run(in: kept) { fixture in
            try await fixture.check(["create", "configmap", "before", "--from-literal=a=b"])
        }
        // After a restart no event from before it is kept.
        try await ServerFixture.run(in: kept) { fixture in
            try await run(
                fixture,
                """
                old = core.read_namespace("kube-system").metadata.resource_version
                try:
                    for event in watch.Watch().stream(
                            core.list_namespaced_config_map, "default", timeout_seconds=30,
                            resource_version=old):
                        raise SystemExit("an event came: %s" % event)
                    raise SystemExit("the watch ended without a word")
                except ApiException as error:
                    assert error.status == 410 and "Expired" in error.reason, error
                from kubernetes.informer import SharedInformer
                informer = SharedInformer(core.list_namespaced_config_map, namespace="default")
                added = []
                informer.add_event_handler("ADDED", lambda o: added.append(o.metadata.name))
                # As after a long sleep: what it has seen last is long gone.
                informer._resource_version = old
                informer.start()
                wait("the informer has listed anew", lambda: "before" in added)
                core.create_namespaced_config_map("default", client.V1ConfigMap(
                    metadata=client.V1ObjectMeta(name="after")))
                wait("the informer follows", lambda: "after" in added)
                informer.stop()
                print("done")
                """)
        }
    }

    @Test func leadersAreElected() async throws {
        try await ServerFixture.run { fixture in
            let script =
                Self.prelude + """
                    from kubernetes.leaderelection import electionconfig, leaderelection
                    from kubernetes.leaderelection.resourcelock.configmaplock import ConfigMapLock
                    name = sys.argv[2]
                    leaderelection.LeaderElection(electionconfig.Config(
                        ConfigMapLock("lock", "default", name), lease_duration=4, renew_deadline=3,
                        retry_period=1, onstarted_leading=lambda: print(name, "leads", flush=True),
                        onstopped_leading=lambda: print(name, "stops", flush=True))).run()
                    """
            let python = try TestClients.python
            let path = fixture.adminPath
            let first = try RunningCommand([python, "-u", "-c", script, path, "one"])
            try eventually("the first leads", withinSeconds: 60) {
                first.outputSoFar == "one leads\n"
            }
            let second = try RunningCommand([python, "-u", "-c", script, path, "two"])
            try eventually("the second has asked") {
                second.errorOutputSoFar.contains("follower") || second.isRunning
            }
            first.signal(9)
            try eventually("the second leads", withinSeconds: 30) {
                second.outputSoFar == "two leads\n"
            }
            let record = try await fixture.check([
                "get", "cm", "lock", "-o",
                "jsonpath={.metadata.annotations.control-plane\\.alpha\\.kubernetes\\.io/leader}",
            ])
            #expect(record.contains("\"holderIdentity\": \"two\""), "\(record)")
            second.stop()
        }
    }
}
