import KubernetesAPI
import NetworkTypes

/// The key `config` of ConfigMap metallb-system/config, as MetalLB read it up to version 0.12.
extension LoadBalancerConfiguration {
    mutating func readConfigMap(_ root: ConfigurationNode, _ reader: ConfigurationReader) {
        let fields = reader.fields(
            root, known: ["peers", "address-pools", "bgp-communities", "bfd-profiles"])
        if let node = fields["bgp-communities"] {
            if case .map(let members) = node.content {
                for (name, child) in members { bgp.communities[name] = community(child, reader) }
            } else {
                reader.fault(node, "must be a mapping of names to communities")
            }
        }
        for node in fields.list("bfd-profiles") { readBFDProfile(node, reader) }
        for (index, node) in fields.list("peers").enumerated() {
            readPeer(node, index: index, reader)
        }
        for node in fields.list("address-pools") { readPool(node, reader) }
    }

    private mutating func readPool(_ node: ConfigurationNode, _ reader: ConfigurationReader) {
        let fields = reader.fields(
            node,
            known: [
                "name", "protocol", "addresses", "auto-assign", "avoid-buggy-ips",
                "bgp-advertisements",
            ])
        let name = fields.required("name").flatMap(reader.text) ?? ""
        let protocolName = fields.required("protocol").flatMap(reader.text)
        var pool = AddressPool(name: name, ranges: reader.ranges(fields))
        pool.autoAssign = fields.bool("auto-assign") ?? true
        pool.avoidBuggyIPs = fields.bool("avoid-buggy-ips") ?? false
        pools.append(pool)
        let advertisements = fields.list("bgp-advertisements")
        switch protocolName {
        case "layer2":
            if let extra = fields["bgp-advertisements"], !advertisements.isEmpty {
                reader.fault(extra, "a layer2 pool cannot have BGP advertisements")
            }
            l2Advertisements.append(L2Advertisement(name: name, pools: [name]))
        case "bgp":
            readAdvertisements(advertisements, of: pool, reader)
        case let other?:
            let place = fields["protocol"] ?? node
            reader.fault(place, "\"\(other)\" is neither layer2 nor bgp")
        case nil: break
        }
    }

    private mutating func readAdvertisements(
        _ nodes: [ConfigurationNode], of pool: AddressPool, _ reader: ConfigurationReader
    ) {
        if nodes.isEmpty {
            var advertisement = BGPAdvertisement(name: Self.configMapMark + pool.name)
            advertisement.pools = [pool.name]
            bgp.advertisements.append(advertisement)
        }
        for (index, node) in nodes.enumerated() {
            let fields = reader.fields(
                node,
                known: ["aggregation-length", "aggregation-length-v6", "localpref", "communities"])
            var advertisement = BGPAdvertisement(
                name: Self.configMapMark + "\(pool.name)[\(index)]")
            advertisement.pools = [pool.name]
            advertisement.aggregationLength = fields.integer("aggregation-length", 0...32) ?? 32
            advertisement.aggregationLengthV6 =
                fields.integer("aggregation-length-v6", 0...128) ?? 128
            checkAggregation(advertisement, of: pool, fields, reader)
            advertisement.localPreference = fields.integer("localpref", 0...Int(UInt32.max))
                .map { UInt32(clamping: $0) }
            advertisement.communities = fields.list("communities")
                .compactMap { community($0, reader) }
            bgp.advertisements.append(advertisement)
        }
    }

    /// An aggregate must not reach beyond the pool: it would draw traffic for foreign addresses.
    private func checkAggregation(
        _ advertisement: BGPAdvertisement, of pool: AddressPool, _ fields: Fields,
        _ reader: ConfigurationReader
    ) {
        for range in pool.ranges {
            let isIPv4 = range.family == .ipv4
            let length =
                isIPv4 ? advertisement.aggregationLength : advertisement.aggregationLengthV6
            let widest = range.prefixes.map(\.length).min() ?? 0
            guard length < widest else { continue }
            let name = isIPv4 ? "aggregation-length" : "aggregation-length-v6"
            reader.fault(
                fields[name] ?? fields.node,
                "\(length) reaches beyond \(range): write at least \(widest)")
        }
    }

    private mutating func readPeer(
        _ node: ConfigurationNode, index: Int, _ reader: ConfigurationReader
    ) {
        let fields = reader.fields(
            node,
            known: [
                "my-asn", "peer-asn", "peer-address", "source-address", "peer-port", "hold-time",
                "keepalive-time", "router-id", "password", "bfd-profile", "ebgp-multihop",
                "node-selectors",
            ])
        _ = fields.required("my-asn")
        _ = fields.required("peer-asn")
        _ = fields.required("peer-address")
        let name = Self.configMapMark + "peers[\(index)]"
        var peer = BGPPeer(name: name, myASN: fields.asn("my-asn") ?? 0)
        peer.peerASN = fields.asn("peer-asn")
        peer.peerAddress = fields.address("peer-address")
        peer.sourceAddress = fields.address("source-address")
        peer.peerPort = UInt16(clamping: fields.integer("peer-port", 1...65535) ?? 179)
        peer.holdTimeSeconds = reader.holdTimeSeconds(fields, "hold-time")
        peer.keepaliveTimeSeconds = fields.seconds("keepalive-time")
        peer.routerID = fields.address("router-id")
        peer.password = fields.text("password") ?? ""
        peer.bfdProfile = fields.text("bfd-profile")
        peer.ebgpMultiHop = fields.bool("ebgp-multihop") ?? false
        peer.nodeSelectors = fields.selectors("node-selectors", .configMap)
        if let profile = peer.bfdProfile, let place = fields["bfd-profile"],
            !bgp.bfdProfiles.contains(where: { $0.name == profile })
        {
            reader.fault(place, "there is no BFD profile \"\(profile)\" in bfd-profiles")
        }
        bgp.peers.append(peer)
    }

    private mutating func readBFDProfile(
        _ node: ConfigurationNode, _ reader: ConfigurationReader
    ) {
        let fields = reader.fields(
            node,
            known: [
                "name", "receive-interval", "transmit-interval", "detect-multiplier",
                "echo-interval", "echo-mode", "passive-mode", "minimum-ttl",
            ])
        var profile = BFDProfile(name: fields.required("name").flatMap(reader.text) ?? "")
        let interval = 10...60000
        profile.receiveIntervalMilliseconds = fields.integer("receive-interval", interval) ?? 300
        profile.transmitIntervalMilliseconds = fields.integer("transmit-interval", interval) ?? 300
        profile.detectMultiplier = fields.integer("detect-multiplier", 2...255) ?? 3
        profile.echoIntervalMilliseconds = fields.integer("echo-interval", interval) ?? 50
        profile.echoMode = fields.bool("echo-mode") ?? false
        profile.passiveMode = fields.bool("passive-mode") ?? false
        profile.minimumTTL = fields.integer("minimum-ttl", 1...254) ?? 254
        bgp.bfdProfiles.append(profile)
    }

    /// A community by its numbers, or by a name that is defined.
    func community(
        _ node: ConfigurationNode, _ reader: ConfigurationReader
    ) -> BGPCommunity? {
        guard let text = reader.text(node) else { return nil }
        if let found = BGPCommunity(text) ?? bgp.communities[text] { return found }
        reader.fault(
            node, "\"\(text)\" is no community (64512:100, large:64512:1:2) nor the name of one")
        return nil
    }
}

extension ConfigurationReader {
    /// The field `addresses` of a pool.
    func ranges(_ fields: Fields) -> [AddressRange] {
        guard let node = fields.required("addresses") else { return [] }
        let elements = list(node)
        if elements.isEmpty { fault(node, "lists no addresses") }
        var ranges: [AddressRange] = []
        for element in elements {
            guard let text = text(element) else { continue }
            do throws(AddressRange.ParseError) {
                ranges.append(try AddressRange(parsing: text))
            } catch {
                fault(element, error.description)
            }
        }
        return ranges
    }

    /// A hold time: 0, or 3 seconds and more (RFC 4271, 4.2); 90 where there is none.
    func holdTimeSeconds(_ fields: Fields, _ name: String) -> Int {
        guard let seconds = fields.seconds(name), let node = fields[name] else { return 90 }
        if seconds == 0 || (3...65535).contains(seconds) { return seconds }
        fault(node, "must be 0s or from 3s to 65535s")
        return 90
    }
}
