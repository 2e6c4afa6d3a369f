import Glibc
import Informer
import Testing

/// Kubeconfigs as kubectl writes them, and what is wrong with others.
@Suite
struct ClientConfigurationTests {
    private func read(_ text: String) throws -> ClientConfiguration {
        let path = "/tmp/portolan-kubeconfig-\(getpid())-\(UInt32.random(in: 0...UInt32.max))"
        let file = try #require(fopen(path, "w"))
        fputs(text, file)
        fclose(file)
        defer { unlink(path) }
        return try ClientConfiguration(kubeconfigPath: path)
    }

    private func kubeconfig(user: String, cluster: String = "server: https://10.0.0.1:6443/")
        -> String
    {
        """
        apiVersion: v1
        kind: Config
        current-context: here
        contexts: [{name: here, context: {cluster: c, user: u}}]
        clusters: [{name: c, cluster: {\(cluster)}}]
        users: [{name: u, user: {\(user)}}]
        """
    }

    @Test func readsEmbeddedCertificates() throws {
        let configuration = try read(
            kubeconfig(user: "client-certificate-data: Y2VydA==, client-key-data: a2V5"))
        #expect(configuration.server == "https://10.0.0.1:6443")
        #expect(configuration.clientCertificatePEM == Array("cert".utf8))
        #expect(configuration.clientKeyPEM == Array("key".utf8))
        #expect(configuration.token == nil)
    }

    @Test func readsATokenAndItsFile() throws {
        guard case .literal("secret")? = try read(kubeconfig(user: "token: secret")).token else {
            Issue.record("no literal token")
            return
        }
        guard case .file("/run/token")? = try read(kubeconfig(user: "tokenFile: /run/token")).token
        else {
            Issue.record("no token file")
            return
        }
    }

    @Test(arguments: [
        ("", "it is empty"),
        ("a: b", "no current-context"),
        ("current-context: gone\ncontexts: []", "no entry \"gone\" in contexts"),
    ])
    func namesWhatIsMissing(_ text: String, _ words: String) throws {
        let error = #expect(throws: ClientConfiguration.Failure.self) { try read(text) }
        #expect(error?.description.contains(words) == true)
        #expect(error?.description.contains("kubeconfig /tmp/") == true)
    }

    @Test func refusesBase64ThatIsNone() throws {
        let error = #expect(throws: ClientConfiguration.Failure.self) {
            try read(kubeconfig(user: "client-key-data: '!!!'"))
        }
        #expect(error?.description.contains("client-key-data is no base64") == true)
    }
}
