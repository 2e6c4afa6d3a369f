import DNS
import NetworkTypes

/// What a Corefile says about TLS: `tls://` server blocks with `tls`, and `forward` to `tls://`.
extension ClusterSettings {
    /// `tls CERT KEY [CA]` in a server block.
    mutating func readTLS(_ plugin: Corefile.Directive) throws(CorefileError) {
        let files = Array(plugin.arguments)
        guard (2...3).contains(files.count), files.allSatisfy({ $0.hasPrefix("/") }) else {
            throw CorefileError(
                line: plugin.line,
                message: "tls needs absolute paths of a certificate and its key, and of an "
                    + "authority where clients show certificates")
        }
        var authority = files.count == 3 ? files[2] : nil
        for option in plugin.block {
            guard option.name == "client_auth", let mode = option.arguments.first else {
                throw CorefileError(line: option.line, message: "tls has no option \(option.name)")
            }
            switch mode {
            case "nocert": authority = nil
            case "require_and_verify": break
            default:
                warn(option, "client_auth \(mode) is served as require_and_verify")
            }
        }
        tls = TLSService(
            listenAddresses: [], certificatePath: files[0], keyPath: files[1],
            clientAuthorityPath: authority)
    }

    /// Takes the port of a `tls://` block's key; true where `word` is such a key.
    mutating func readTLSKey(_ word: String) -> Bool {
        guard word.hasPrefix("tls://") else { return false }
        let rest = word.dropFirst(6)
        if let colon = rest.lastIndex(of: ":"), let port = UInt16(rest[rest.index(after: colon)...])
        {
            tlsPort = port
        }
        return true
    }

    /// One `tls://` server of `forward`; CoreDNS' `%name` after the address names its certificate. A
    /// port may stand before or behind the name.
    func readTLSUpstream(
        _ text: String, _ plugin: Corefile.Directive
    ) throws(CorefileError) -> Upstream {
        let parts = text.dropFirst(6).split(separator: "%", maxSplits: 1)
        let named = parts.count > 1 ? parts[1].split(separator: ":", maxSplits: 1) : []
        guard var host = parts.first.map(String.init) else {
            throw CorefileError(line: plugin.line, message: "\"\(text)\" has no address")
        }
        if named.count > 1 {
            let isPlainIPv6 = IPAddress(host)?.family == .ipv6
            host = (isPlainIPv6 ? "[\(host)]" : host) + ":\(named[1])"
        }
        guard let address = SocketAddress(host, defaultPort: TLSService.port)
        else {
            throw CorefileError(
                line: plugin.line, message: "\"\(text)\" is no address; names are not allowed")
        }
        let name = named.first.map(String.init)
        return Upstream(address, tls: UpstreamTLS(serverName: name))
    }

    /// `tls` and `tls_servername` in `forward`, which hold for all its TLS servers.
    func readForwardTLS(
        _ option: Corefile.Directive, _ route: inout ForwardRoute
    ) throws(CorefileError) {
        let words = Array(option.arguments)
        if option.name == "tls_servername", words.count != 1 {
            throw CorefileError(line: option.line, message: "tls_servername needs one name")
        }
        if option.name == "tls", words.count > 3 {
            throw CorefileError(
                line: option.line,
                message: "tls of forward is tls, tls CA, tls CERT KEY, or "
                    + "tls CERT KEY CA")
        }
        for index in route.upstreams.indices {
            guard var tls = route.upstreams[index].tls else { continue }
            if option.name == "tls_servername" {
                tls.serverName = tls.serverName ?? words[0]
            } else {
                if words.count >= 2 {
                    tls.certificatePath = words[0]
                    tls.keyPath = words[1]
                }
                if words.count % 2 == 1 { tls.authorityPath = words.last }
            }
            route.upstreams[index].tls = tls
        }
    }
}
