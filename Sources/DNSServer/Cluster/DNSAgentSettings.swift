import DNS
import Logging
import NetworkTypes
import Synchronization

/// What a Corefile means to the server, and how it is put in place.
extension DNSAgent {
    static func zoneConfiguration(
        _ settings: ClusterSettings, _ configuration: Configuration
    ) -> ZoneConfiguration {
        ZoneConfiguration(
            name: settings.domain, furtherNames: settings.furtherDomains,
            reverseZones: settings.reverseZones,
            timeToLiveSeconds: settings.timeToLiveSeconds,
            serverAddresses: configuration.serviceAddresses, podRecords: settings.podRecords,
            fallthroughZones: settings.fallthroughZones, serial: SystemClock.unixSeconds())
    }

    static func serverConfiguration(
        _ settings: ClusterSettings, _ configuration: Configuration, zone: Zone
    ) -> ServerConfiguration {
        var routes = settings.routes
        let upstreams = configuration.forwarders.map { Upstream($0) }
        for index in routes.indices where routes[index].resolverFile != nil {
            if upstreams.isEmpty {
                routes[index].resolverFile = configuration.resolverFile
            } else {
                routes[index].resolverFile = nil
                routes[index].upstreams = upstreams
            }
        }
        // Interfaces' addresses are the node's; a Corefile's `bind` adds to them.
        let port = configuration.listenAddresses.first?.port ?? 53
        let bound = settings.bindAddresses.map { SocketAddress($0, port: port) }
        let added = bound.filter { !configuration.listenAddresses.contains($0) }
        var tls = settings.tls
        if tls?.listenAddresses.isEmpty == true {
            tls?.listenAddresses = configuration.listenAddresses.map {
                SocketAddress($0.address, port: settings.tlsPort)
            }
        }
        var limits = ServerLimits()
        limits.concurrentForwards = settings.concurrentForwards
        return ServerConfiguration(
            listenAddresses: configuration.listenAddresses + added,
            threadCount: configuration.threadCount, zone: zone, routes: routes, limits: limits,
            completesSearchPaths: configuration.completesSearchPaths,
            hostSearchDomains: upstreams.isEmpty
                ? ResolverFile.read(path: configuration.resolverFile)?.searchDomains ?? [] : [],
            rateLimit: configuration.rateLimit, logsQueries: settings.logsQueries, tls: tls)
    }

    /// Begins to list and watch what a Corefile's options need to know beyond the shared cache; nil
    /// where that is nothing.
    @discardableResult
    func feedDetails(for corefile: String?) -> DetailsFeed? {
        guard let domain = DNSName(configuration.clusterDomain) else { return nil }
        var rules = RecordRules()
        if let corefile {
            guard let fresh = try? ClusterSettings(corefile: corefile, defaultDomain: domain) else {
                // It will be refused, so what is in force is needed still.
                return nil
            }
            rules = fresh.records
        }
        let need = DetailsFeed.Need(rules)
        return detailsFeed.withLock { feed in
            if (feed?.need ?? DetailsFeed.Need(RecordRules())) != need {
                let new = DetailsFeed(need, client: client, logger: logger)
                feed = new
                detailsFeeds.continuation.yield(new)
            }
            return need.isNothing ? nil : feed
        }
    }

    /// Puts a Corefile in place; one that cannot be read leaves everything as it is. nil is the
    /// kubeadm default.
    func applySettings(_ corefile: String?) {
        guard let domain = DNSName(configuration.clusterDomain) else { return }
        var fresh = ClusterSettings(domain: domain)
        if let corefile {
            do {
                fresh = try ClusterSettings(corefile: corefile, defaultDomain: domain)
            } catch {
                logger.error("coredns ConfigMap: the last good configuration stays: \(error)")
                return
            }
        }
        for warning in fresh.warnings { logger.warning("coredns ConfigMap: \(warning)") }
        let old = settings.withLock { settings in
            let old = settings
            settings = fresh
            return old
        }
        let oldZone = controller.zone
        var zone = oldZone
        if !old.hasSameZone(as: fresh) {
            zone = Zone(configuration: Self.zoneConfiguration(fresh, configuration))
            if old.podRecords != fresh.podRecords || old.records.labels != fresh.records.labels {
                podModes.continuation.yield(fresh.podRecords)
            }
            controller.adopt(zone, rules: fresh.records)
        }
        do {
            try put(Self.serverConfiguration(fresh, configuration, zone: zone))
            keep(corefile: corefile)
        } catch {
            settings.withLock { $0 = old }
            if zone !== oldZone { controller.adopt(oldZone, rules: old.records) }
            logger.error("coredns ConfigMap: the last good configuration stays: \(error)")
        }
    }

    /// Puts a configuration in place. Where the certificate of DNS over TLS cannot be used,
    /// everything else is; `retryTLS` adds it later.
    private func put(_ fresh: ServerConfiguration) throws {
        try missingTLS.withLock { missing in
            do {
                try server.reconfigure(fresh)
                missing = nil
            } catch let error as TLSFileError {
                var plain = fresh
                plain.tls = nil
                try server.reconfigure(plain)
                missing = fresh.tls
                logger.error("DNS over TLS is not served until this is right: \(error)")
            }
        }
    }

    /// Looks every few seconds whether a certificate that could not be used can be now, as long as
    /// one is wanted, until cancelled.
    func retryTLS() async {
        while !Task.isCancelled {
            try? await Task.sleep(for: Self.tlsRetryInterval)
            missingTLS.withLock { missing in
                guard let wanted = missing, !Task.isCancelled else { return }
                var configuration = server.configuration
                configuration.tls = wanted
                do {
                    try server.reconfigure(configuration)
                    missing = nil
                    logger.notice("DNS over TLS is served: its certificate can be used now")
                } catch is TLSFileError {
                    // Said when it was first found; the metric goes on saying it.
                } catch {
                    missing = nil
                    logger.error("DNS over TLS is not served: \(error)")
                }
            }
        }
    }

    private static let tlsRetryInterval = Duration.seconds(3)
}
