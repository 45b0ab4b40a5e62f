"""Reading and writing of nodes and scenes, behind `slicer.util.loadVolume`, `saveNode`, `saveScene` and `loadScene`."""

from pathlib import Path

import slicer


class IOManager:
    """qSlicerCoreIOManager for volumes, tables, texts and scenes."""

    def fileType(self, name: str) -> str:
        return "SceneFile" if name.endswith((".mrml", ".mrb")) else "VolumeFile"

    def fileWriterFileType(self, node: object) -> str:
        return "NodeFile"

    def registeredFileReaderCount(self, kind: str) -> int:
        return 1 if kind in ("SceneFile", "VolumeFile") else 0

    def loadNodes(self, kind: str, properties: dict, nodes: object, messages: object = None) -> bool:
        """The signature that slicer.util uses."""
        name = properties["fileName"]
        if kind == "SceneFile":
            return self._load_scene(name)
        if kind != "VolumeFile":
            raise NotImplementedError(f"the stand-in reads no {kind}")
        options = 0 if properties.get("singleFile") is None else 8 * bool(properties["singleFile"])
        logic = slicer.modules.volumes.logic()
        node = logic.AddArchetypeVolume(name, properties.get("name") or Path(name).stem.partition(".")[0], options)
        if node is None:
            return False
        nodes.AddItem(node)
        return True

    def saveNodes(self, kind: str, properties: dict, messages: object = None) -> bool:
        if kind == "SceneFile":
            return self._save_scene(Path(properties["fileName"]))
        node = slicer.mrmlScene.GetNodeByID(properties["nodeID"])
        return self._write(node, properties["fileName"])

    @staticmethod
    def _write(node: object, name: str) -> bool:
        storage = node.GetStorageNode()
        if storage is None:
            node.AddDefaultStorageNode()
            storage = node.GetStorageNode()
        storage.SetFileName(str(name))
        return bool(storage.WriteData(node))

    def _save_scene(self, folder: Path) -> bool:
        """A folder with the scene and the data of its volumes."""
        if folder.suffix:
            raise NotImplementedError("the stand-in saves scenes to folders")
        (folder / "Data").mkdir(parents=True)
        scene = slicer.mrmlScene
        nodes = [scene.GetNthNode(number) for number in range(scene.GetNumberOfNodes())]
        volumes = [node for node in nodes if node.IsA("vtkMRMLVolumeNode") and node.GetImageData() is not None]
        if not all(self._write(node, folder / "Data" / f"{node.GetID()}.nrrd") for node in volumes):
            return False
        scene.SetRootDirectory(str(folder))
        return bool(scene.Commit(str(folder / f"{folder.name}.mrml")))

    @staticmethod
    def _load_scene(name: str) -> bool:
        scene = slicer.mrmlScene
        scene.SetURL(str(name))
        return bool(scene.Import())
