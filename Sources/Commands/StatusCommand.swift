import ArgumentParser
import Informer

/// `portolan status`: nodes, Services and what is pending, in one screen.
struct StatusCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "status",
        abstract: "Show nodes, Services with their addresses and endpoints, and what is pending.")

    @OptionGroup var identity: IdentityOptions

    @Option(help: "The kubeconfig to use; DATA-DIR/admin.kubeconfig by default.")
    var kubeconfig: String?

    func run() async throws {
        let client = try identity.client(kubeconfig: kubeconfig)
        do {
            try await client.shutDownAfter {
                for line in try await StatusReport.read(from: client).lines { print(line) }
            }
        } catch {
            throw CommandFailure("cannot ask the API server: \(error)")
        }
    }
}
