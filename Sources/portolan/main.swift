import Commands

PortolanCommand.enterNamespace(CommandLine.arguments)
await PortolanCommand.start(CommandLine.arguments)
