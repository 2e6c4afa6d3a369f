import Commands

await PortolanCommand.start(CommandLine.arguments)
