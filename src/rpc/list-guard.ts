/**
 * Makes capnp-es refuse a list field that holds something else. It does not look: a struct where a list of texts should be
 * reads as a list of up to half a billion elements, and going through that ends the process. All generated getters of
 * lists call `utils.getList`, which is replaced here by one that looks first. Imported for that effect.
 *
 * Together with content-check.ts this bounds the length of every list by the bytes of its message. The upgrade of a list
 * of plain values to one of structs, which the format allows and no schema of ours has made, is refused too.
 */
import { type List, type Struct, utils } from "capnp-es";
import { malformed } from "./wire-pointer.ts";

type GetList = typeof utils.getList;

const POINTER_LIST = 1;
const ELEMENTS_ARE_STRUCTS = 7;

const getListUnguarded: GetList = utils.getList;

function getListGuarded(...[index, listClass, struct, defaultValue]: Parameters<GetList>): List<unknown> {
  checkKind(index, listClass._capnp.compositeSize === undefined ? listClass._capnp.size : ELEMENTS_ARE_STRUCTS, struct);
  return getListUnguarded(index, listClass, struct, defaultValue);
}

function checkKind(index: number, elementSize: number, struct: Struct): void {
  const pointer = utils.getPointer(index, struct);
  if (utils.isNull(pointer)) return;
  const kind: number = utils.getTargetPointerType(pointer);
  const actual: number = kind === POINTER_LIST ? utils.getTargetListElementSize(pointer) : -1;
  if (actual !== elementSize) throw malformed("a list field holds something else");
}

Object.assign(utils, { getList: getListGuarded });
