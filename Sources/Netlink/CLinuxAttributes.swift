import CLinux

// The named enumerations of the kernel's headers whose enumerators this module uses as attributes.
extension rtattr_type_t: AttributeNumber {}
extension ctattr_type: AttributeNumber {}
extension ctattr_tuple: AttributeNumber {}
extension ctattr_ip: AttributeNumber {}
extension ctattr_l4proto: AttributeNumber {}
