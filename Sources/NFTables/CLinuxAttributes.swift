public import CLinux
public import Netlink

// The named enumerations of linux/netfilter/nf_tables.h whose enumerators are attributes here.
extension nft_table_attributes: AttributeNumber {}
extension nft_chain_attributes: AttributeNumber {}
extension nft_hook_attributes: AttributeNumber {}
extension nft_rule_attributes: AttributeNumber {}
extension nft_set_attributes: AttributeNumber {}
extension nft_set_desc_attributes: AttributeNumber {}
extension nft_set_field_attributes: AttributeNumber {}
extension nft_set_elem_attributes: AttributeNumber {}
extension nft_set_elem_list_attributes: AttributeNumber {}
extension nft_object_attributes: AttributeNumber {}
extension nft_list_attributes: AttributeNumber {}
extension nft_expr_attributes: AttributeNumber {}
extension nft_data_attributes: AttributeNumber {}
extension nft_verdict_attributes: AttributeNumber {}
extension nft_payload_attributes: AttributeNumber {}
extension nft_meta_attributes: AttributeNumber {}
extension nft_ct_attributes: AttributeNumber {}
extension nft_cmp_attributes: AttributeNumber {}
extension nft_range_attributes: AttributeNumber {}
extension nft_bitwise_attributes: AttributeNumber {}
extension nft_byteorder_attributes: AttributeNumber {}
extension nft_lookup_attributes: AttributeNumber {}
extension nft_immediate_attributes: AttributeNumber {}
extension nft_nat_attributes: AttributeNumber {}
extension nft_masq_attributes: AttributeNumber {}
extension nft_redir_attributes: AttributeNumber {}
extension nft_reject_attributes: AttributeNumber {}
extension nft_ng_attributes: AttributeNumber {}
extension nft_hash_attributes: AttributeNumber {}
extension nft_counter_attributes: AttributeNumber {}
extension nft_objref_attributes: AttributeNumber {}
extension nft_dynset_attributes: AttributeNumber {}
extension nft_fib_attributes: AttributeNumber {}
extension nft_socket_attributes: AttributeNumber {}
extension nft_limit_attributes: AttributeNumber {}
extension nft_log_attributes: AttributeNumber {}
