"""The messages of SavedModels, MetaGraphs and checkpoints, beside those of graphs."""

from __future__ import annotations

from typing import Any

from octolite.frontends import proto

_TABLE = """
message SavedModel
  1 int64 saved_model_schema_version
  2 repeated MetaGraphDef meta_graphs
message MetaGraphDef
  1 MetaInfoDef meta_info_def
  2 GraphDef graph_def
  3 SaverDef saver_def
  4 map<string,CollectionDef> collection_def
  5 map<string,SignatureDef> signature_def
  6 repeated AssetFileDef asset_file_def
  7 SavedObjectGraph object_graph_def
message SavedObjectGraph
message MetaInfoDef
  4 repeated string tags
message SaverDef
  1 string filename_tensor_name
  3 string restore_op_name
message CollectionDef
  1 NodeList node_list in kind
  5 AnyList any_list in kind
message NodeList
  1 repeated string value
message AnyList
  1 repeated Any value
message Any
  2 bytes value
message SignatureDef
  1 map<string,TensorInfo> inputs
  2 map<string,TensorInfo> outputs
  3 string method_name
message TensorInfo
  1 string name
  2 DataType dtype
  3 TensorShapeProto tensor_shape
  4 CooSparse coo_sparse
message CooSparse
  1 string values_tensor_name
message AssetFileDef
  1 TensorInfo tensor_info
  2 string filename

message BundleHeaderProto
  1 int32 num_shards
  2 int32 endianness
message BundleEntryProto
  1 DataType dtype
  2 TensorShapeProto shape
  3 int32 shard_id
  4 int64 offset
  5 int64 size
  6 fixed32 crc32c
  7 repeated TensorSliceProto slices
message TensorSliceProto
  1 repeated Extent extent
message Extent
  1 int64 start
  2 int64 length in has_length

message TrackableObjectGraph
  1 repeated TrackableObject nodes
message TrackableObject
  2 repeated SerializedTensor attributes
message SerializedTensor
  1 string name
  2 string full_name
  3 string checkpoint_key
"""

proto.declare(_TABLE, "octolite/saved_model.proto", proto.GRAPH_FILE)

SavedModel: Any = proto.message("SavedModel")
MetaGraphDef: Any = proto.message("MetaGraphDef")
AssetFileDef: Any = proto.message("AssetFileDef")
BundleHeaderProto: Any = proto.message("BundleHeaderProto")
BundleEntryProto: Any = proto.message("BundleEntryProto")
TrackableObjectGraph: Any = proto.message("TrackableObjectGraph")
