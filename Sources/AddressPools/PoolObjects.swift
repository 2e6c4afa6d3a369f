import JSON
import KubernetesAPI
import NetworkTypes

/// Objects of the group metallb.io, as MetalLB reads them from version 0.13 on.
extension LoadBalancerConfiguration {
    /// The kinds that are read.
    static let objectKinds = [
        "IPAddressPool", "L2Advertisement", "BGPAdvertisement", "BGPPeer", "BFDProfile",
        "Community",
    ]

    mutating func readObject(_ object: Object, _ error: inout ConfigurationError) {
        guard Self.objectKinds.contains(object.kind), object.metadata.deletionTimestamp == nil
        else { return }
        let source = ConfigurationSource(kind: object.kind, key: object.metadata.key)
        if ["BGPAdvertisement", "BGPPeer", "BFDProfile"].contains(object.kind) {
            bgpSources.insert(source)
        }
        let reader = ConfigurationReader()
        let spec = ConfigurationNode(json: object.json["spec"] ?? .object([:]), path: "spec")
        let name = object.metadata.name
        switch object.kind {
        case "IPAddressPool":
            readPool(spec, name: name, labels: object.metadata.labels, source, reader)
        case "L2Advertisement": readL2Advertisement(spec, name: name, reader)
        case "BGPAdvertisement": readBGPAdvertisement(spec, name: name, reader)
        case "BGPPeer": readPeer(spec, name: name, reader)
        case "BFDProfile": readBFDProfile(spec, name: name, reader)
        default: readCommunities(spec, reader)
        }
        error.add(reader, source)
    }

    private mutating func readPool(
        _ spec: ConfigurationNode, name: String, labels: [String: String],
        _ source: ConfigurationSource, _ reader: ConfigurationReader
    ) {
        let fields = reader.fields(
            spec, known: ["addresses", "autoAssign", "avoidBuggyIPs", "serviceAllocation"])
        var pool = AddressPool(
            name: name, labels: labels, ranges: reader.ranges(fields), source: source)
        pool.autoAssign = fields.bool("autoAssign") ?? true
        pool.avoidBuggyIPs = fields.bool("avoidBuggyIPs") ?? false
        if let node = fields["serviceAllocation"] {
            let rule = reader.fields(
                node, known: ["priority", "namespaces", "namespaceSelectors", "serviceSelectors"])
            pool.serviceAllocation = PoolServiceAllocation(
                priority: rule.integer("priority", 0...Int(Int32.max)) ?? 0,
                namespaces: Set(rule.texts("namespaces")),
                namespaceSelectors: rule.selectors("namespaceSelectors"),
                serviceSelectors: rule.selectors("serviceSelectors"))
        }
        pools.append(pool)
    }

    private mutating func readL2Advertisement(
        _ spec: ConfigurationNode, name: String, _ reader: ConfigurationReader
    ) {
        let fields = reader.fields(
            spec,
            known: [
                "ipAddressPools", "ipAddressPoolSelectors", "nodeSelectors", "interfaces",
                "serviceSelectors", "preferredNodeSelectors",
            ])
        var advertisement = L2Advertisement(name: name)
        advertisement.pools = fields.texts("ipAddressPools")
        advertisement.poolSelectors = fields.selectors("ipAddressPoolSelectors")
        advertisement.nodeSelectors = fields.selectors("nodeSelectors")
        advertisement.interfaces = fields.texts("interfaces")
        advertisement.serviceSelectors = fields.selectors("serviceSelectors")
        for node in fields.list("preferredNodeSelectors") {
            let preference = reader.fields(node, known: ["weight", "preference"])
            _ = preference.required("weight")
            guard let selector = preference.required("preference"),
                let weight = preference.integer("weight", 1...100)
            else { continue }
            advertisement.preferredNodes.append(
                L2Advertisement.PreferredNode(
                    weight: weight, selector: reader.selector(selector, .object)))
        }
        l2Advertisements.append(advertisement)
    }
}

// MARK: - BGP

extension LoadBalancerConfiguration {
    private mutating func readBGPAdvertisement(
        _ spec: ConfigurationNode, name: String, _ reader: ConfigurationReader
    ) {
        let fields = reader.fields(
            spec,
            known: [
                "aggregationLength", "aggregationLengthV6", "localPref", "communities",
                "ipAddressPools", "ipAddressPoolSelectors", "nodeSelectors", "peers",
                "serviceSelectors",
            ])
        var advertisement = BGPAdvertisement(name: name)
        advertisement.aggregationLength = fields.integer("aggregationLength", 0...32) ?? 32
        advertisement.aggregationLengthV6 = fields.integer("aggregationLengthV6", 0...128) ?? 128
        advertisement.localPreference = fields.integer("localPref", 0...Int(UInt32.max))
            .map { UInt32(clamping: $0) }
        advertisement.communities = fields.list("communities").compactMap { community($0, reader) }
        advertisement.pools = fields.texts("ipAddressPools")
        advertisement.poolSelectors = fields.selectors("ipAddressPoolSelectors")
        advertisement.nodeSelectors = fields.selectors("nodeSelectors")
        advertisement.peers = fields.texts("peers")
        advertisement.serviceSelectors = fields.selectors("serviceSelectors")
        bgp.advertisements.append(advertisement)
    }

    private mutating func readPeer(
        _ spec: ConfigurationNode, name: String, _ reader: ConfigurationReader
    ) {
        let fields = reader.fields(
            spec,
            known: [
                "myASN", "peerASN", "dynamicASN", "localASN", "peerAddress", "interface",
                "sourceAddress", "peerPort", "holdTime", "keepaliveTime", "connectTime",
                "routerID", "nodeSelectors", "password", "passwordSecret", "bfdProfile",
                "enableGracefulRestart", "ebgpMultiHop", "vrf", "dualStackAddressFamily",
            ])
        _ = fields.required("myASN")
        var peer = BGPPeer(name: name, myASN: fields.asn("myASN") ?? 0)
        peer.peerASN = fields.asn("peerASN")
        peer.dynamicASN = fields.text("dynamicASN")
        peer.localASN = fields.asn("localASN")
        peer.peerAddress = fields.address("peerAddress")
        peer.interface = fields.text("interface")
        peer.sourceAddress = fields.address("sourceAddress")
        peer.peerPort = UInt16(clamping: fields.integer("peerPort", 1...65535) ?? 179)
        peer.holdTimeSeconds = reader.holdTimeSeconds(fields, "holdTime")
        peer.keepaliveTimeSeconds = fields.seconds("keepaliveTime")
        peer.connectTimeSeconds = fields.seconds("connectTime")
        peer.routerID = fields.address("routerID")
        peer.nodeSelectors = fields.selectors("nodeSelectors")
        peer.password = fields.text("password") ?? ""
        if let node = fields["passwordSecret"] {
            let secret = reader.fields(node, known: ["name", "namespace"])
            peer.passwordSecret = ObjectKey(
                namespace: secret.text("namespace") ?? "metallb-system",
                name: secret.required("name").flatMap(reader.text) ?? "")
        }
        peer.bfdProfile = fields.text("bfdProfile")
        peer.enableGracefulRestart = fields.bool("enableGracefulRestart") ?? false
        peer.ebgpMultiHop = fields.bool("ebgpMultiHop") ?? false
        peer.vrf = fields.text("vrf")
        peer.dualStackAddressFamily = fields.bool("dualStackAddressFamily") ?? false
        check(peer, fields, reader)
        bgp.peers.append(peer)
    }

    private func check(_ peer: BGPPeer, _ fields: Fields, _ reader: ConfigurationReader) {
        if let kind = peer.dynamicASN, let place = fields["dynamicASN"],
            !["internal", "external"].contains(kind)
        {
            reader.fault(place, "\"\(kind)\" is neither internal nor external")
        }
        if (fields["peerASN"] == nil) == (fields["dynamicASN"] == nil) {
            reader.fault(fields.node, "exactly one of peerASN and dynamicASN is needed")
        }
        if (fields["peerAddress"] == nil) == (fields["interface"] == nil) {
            reader.fault(fields.node, "exactly one of peerAddress and interface is needed")
        }
        if !peer.password.isEmpty, peer.passwordSecret != nil {
            reader.fault(fields.node, "password and passwordSecret exclude each other")
        }
    }

    private mutating func readBFDProfile(
        _ spec: ConfigurationNode, name: String, _ reader: ConfigurationReader
    ) {
        let fields = reader.fields(
            spec,
            known: [
                "receiveInterval", "transmitInterval", "detectMultiplier", "echoInterval",
                "echoMode", "passiveMode", "minimumTtl",
            ])
        var profile = BFDProfile(name: name)
        let interval = 10...60000
        profile.receiveIntervalMilliseconds = fields.integer("receiveInterval", interval) ?? 300
        profile.transmitIntervalMilliseconds = fields.integer("transmitInterval", interval) ?? 300
        profile.detectMultiplier = fields.integer("detectMultiplier", 2...255) ?? 3
        profile.echoIntervalMilliseconds = fields.integer("echoInterval", interval) ?? 50
        profile.echoMode = fields.bool("echoMode") ?? false
        profile.passiveMode = fields.bool("passiveMode") ?? false
        profile.minimumTTL = fields.integer("minimumTtl", 1...254) ?? 254
        bgp.bfdProfiles.append(profile)
    }

    private mutating func readCommunities(
        _ spec: ConfigurationNode, _ reader: ConfigurationReader
    ) {
        let fields = reader.fields(spec, known: ["communities"])
        for node in fields.list("communities") {
            let entry = reader.fields(node, known: ["name", "value"])
            guard let name = entry.required("name").flatMap(reader.text),
                let value = entry.required("value")
            else { continue }
            bgp.communities[name] = community(value, reader)
        }
    }
}
