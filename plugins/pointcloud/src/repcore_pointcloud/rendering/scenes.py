"""Pictures of scenes, turning by themselves in reports, and point activation maps; on a page of its own a 3-D view.

Symbols: n points shown.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping

import numpy as np

from repcore.interfaces import Picture, Sample
from repcore.report.legend import legend
from repcore_pointcloud.formats.scene import Scene
from repcore_pointcloud.preprocessors.scene_geometry import PreparedScene
from repcore_pointcloud.rendering.turning import turning

SHOWN_POINTS = 12_000
LEVELS = 65_535  # coordinates are sent as 16-bit numbers
LABEL_COLOURS = np.array(
    [[31, 119, 180], [255, 127, 14], [44, 160, 44], [214, 39, 40], [148, 103, 189], [140, 86, 75], [227, 119, 194],
     [127, 127, 127], [188, 189, 34], [23, 190, 207]], np.uint8,
)  # fmt: skip
# dark blue, blue-green, yellow: readable without telling red from green
MAP_COLOURS = np.array([[40, 30, 90], [38, 110, 142], [53, 183, 121], [180, 222, 44], [253, 231, 37]], np.float64)
NO_LABEL = np.array([220, 220, 220], np.uint8)
ASKING = (220, 20, 60)  # red
PREFERRED_LABELS = ("semantic", "label5", "instance", "part", "foreground")

VIEWER = """<div style="position:relative"><canvas width="520" height="360" role="img" aria-label="{alt}"
style="width:100%;max-width:520px;touch-action:none;cursor:grab;background:#fff;border:1px solid #ddd"></canvas>
<script>(function(){{
var box=document.currentScript.parentElement,canvas=box.querySelector("canvas"),ctx=canvas.getContext("2d");
function bytes(t){{return Uint8Array.from(atob(t),function(c){{return c.charCodeAt(0)}})}}
var xyz=new Uint16Array(bytes("{points}").buffer),rgb=bytes("{colours}"),n=xyz.length/3,turn={turn},tilt=0.55,zoom=1;
function draw(){{var w=canvas.width,h=canvas.height,image=ctx.createImageData(w,h),deep=new Float32Array(w*h).fill(1e9);
var s=Math.sin(turn),c=Math.cos(turn),st=Math.sin(tilt),ct=Math.cos(tilt),k=zoom*Math.min(w,h)/92000;
image.data.fill(255);
for(var i=0;i<n;i++){{var x=xyz[3*i]-32768,y=xyz[3*i+1]-32768,z=xyz[3*i+2]-32768,u=c*x-s*y,v=s*x+c*y;
var px=Math.round(w/2+u*k),py=Math.round(h/2-(z*ct+v*st)*k),d=v*ct-z*st;
for(var a=0;a<2;a++)for(var b=0;b<2;b++){{var X=px+a,Y=py+b;if(X<0||Y<0||X>=w||Y>=h)continue;
var q=Y*w+X;if(d<deep[q]){{deep[q]=d;image.data[4*q]=rgb[3*i];image.data[4*q+1]=rgb[3*i+1];
image.data[4*q+2]=rgb[3*i+2]}}}}}}ctx.putImageData(image,0,0)}}
var held=null;canvas.onpointerdown=function(e){{held=[e.clientX,e.clientY];canvas.setPointerCapture(e.pointerId)}};
canvas.onpointerup=function(){{held=null}};canvas.onpointermove=function(e){{if(!held)return;
turn+=(e.clientX-held[0])/120;tilt=Math.max(-1.5,Math.min(1.5,tilt+(e.clientY-held[1])/120));
held=[e.clientX,e.clientY];draw()}};
canvas.onwheel=function(e){{e.preventDefault();zoom*=e.deltaY<0?1.1:0.9;draw()}};draw()}})();</script></div>"""


def render(sample: Sample) -> Picture:
    """A scene in its colours, or coloured by a label, or by height."""
    scene: Scene | PreparedScene = sample.inputs
    points = np.asarray(scene.points)
    name = next((one for one in PREFERRED_LABELS if one in sample.targets), None)
    if scene.colours is not None and np.any(scene.colours):
        colours = (255 * np.clip(np.nan_to_num(scene.colours), 0, 1)).astype(np.uint8)
        shown = "in their colours"
    elif name is not None and np.shape(sample.targets[name]) == (len(points),):
        colours = LABEL_COLOURS[np.asarray(sample.targets[name]).astype(np.int64) % len(LABEL_COLOURS)]
        shown = f"coloured by {name}"
    else:
        colours, shown = map_colours(points[:, 2]), "coloured by height"
    finite = points[np.isfinite(points).all(1)]
    size = " x ".join(f"{one:.1f}" for one in np.ptp(finite, axis=0)) if len(finite) else "nothing"
    alt = f"scene {sample.id}: {len(points):,} points over {size}, {shown}; turning"
    return Picture(turning(points, colours, alt), alt)


def overlay(sample: Sample, labellings: Mapping[str, np.ndarray]) -> Picture:
    """A scene once for each labelling, coloured by it; points without a label are light grey.

    Args:
        labellings: name -> numbers (N,), -1 = none.
    """
    points = np.asarray(sample.inputs.points)
    parts = []
    for name, labels in labellings.items():
        numbers = np.asarray(labels).reshape(-1)
        colours = np.where((numbers < 0)[:, None], NO_LABEL, LABEL_COLOURS[numbers % len(LABEL_COLOURS)])
        parts.append(turning(points, colours.astype(np.uint8), f"{sample.id}, {name}"))
    shown = sorted({int(one) for labels in labellings.values() for one in np.unique(labels) if one >= 0})
    key = legend({str(one): LABEL_COLOURS[one % len(LABEL_COLOURS)] for one in shown})
    alt = f"scene {sample.id}: {len(points):,} points; in this order: {', '.join(labellings)}"
    return Picture("".join(parts) + key, alt)


def activation_picture(points: np.ndarray, features: np.ndarray, query: int, title: str = "") -> Picture:
    """Point activation map on a page of its own: cosine similarity of one point's features to those of all others.

    Source: the figure of Liu et al. 2023 (arXiv 2303.06388).

    Args:
        points: (N, 3).
        features: (N, C) of the same points.
        query: row of the point that asks; drawn in red.
        title: for the text alternative.
    """
    unit = _unit(features)
    title = f"{title} similarity to point {query}".strip()
    colours, alt = _similarity(points, unit @ unit[query], points[query], title)
    return Picture(viewer(points, colours, alt), alt)


def activation_of_views(
    query_view: tuple[np.ndarray, np.ndarray], key_view: tuple[np.ndarray, np.ndarray], query: int
) -> Picture:
    """Point activation maps of one point over both views of a scene, side by side.

    Args:
        query_view / key_view: points (N, 3) where they were before the view, and features (N, C).
        query: row of the query view.
    """
    asking, place = _unit(query_view[1])[query], query_view[0][query]
    figures, words = [], []
    for name, (points, features) in (("own view", query_view), ("other view, key encoder", key_view)):
        colours, alt = _similarity(points, _unit(features) @ asking, place, f"{name}: similarity to one point")
        figures.append(f"<figure>{turning(points, colours, alt)}<figcaption>{alt}</figcaption></figure>")
        words.append(alt)
    return Picture("".join(figures), "; ".join(words))


def _unit(features: np.ndarray) -> np.ndarray:
    found: np.ndarray = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
    return found


def _similarity(points: np.ndarray, similarity: np.ndarray, place: np.ndarray, title: str) -> tuple[np.ndarray, str]:
    """Colours by similarity, red for points around ``place``; and the picture in words."""
    colours = map_colours(similarity)
    colours[np.linalg.norm(points - place, axis=1) <= 0.02 * max(float(np.ptp(points, axis=0).max()), 1e-9)] = ASKING
    strong = float((similarity > 0.8).mean())
    return colours, f"{title}: {strong:.0%} of {len(points):,} points above 0.8"


def map_colours(values: np.ndarray) -> np.ndarray:
    """uint8 (n, 3): values between their 2nd and 98th percentile along one scale of colours."""
    values = np.nan_to_num(np.asarray(values, np.float64))
    low, high = np.percentile(values, (2, 98)) if len(values) else (0.0, 1.0)
    place = np.clip((values - low) / max(high - low, 1e-12), 0, 1) * (len(MAP_COLOURS) - 1)
    first = np.minimum(place.astype(int), len(MAP_COLOURS) - 2)
    share = (place - first)[:, None]
    return ((1 - share) * MAP_COLOURS[first] + share * MAP_COLOURS[first + 1]).astype(np.uint8)


def viewer(points: np.ndarray, colours: np.ndarray, alt: str, most: int = SHOWN_POINTS) -> str:
    """For a page of its own, since it runs a script: a cloud that can be turned; without element ids."""
    finite = np.isfinite(points).all(1)
    points, colours = np.asarray(points, np.float64)[finite], colours[finite]
    if len(points) > most:
        rows = np.linspace(0, len(points) - 1, most).astype(int)
        points, colours = points[rows], colours[rows]
    low, high = (points.min(0), points.max(0)) if len(points) else (np.zeros(3), np.ones(3))
    side = max(float((high - low).max()), 1e-9)
    levels = (points - (low + high) / 2) / side * LEVELS + LEVELS / 2
    sent = np.clip(np.round(levels), 0, LEVELS).astype("<u2")
    text = alt.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
    return VIEWER.format(
        alt=text,
        points=base64.b64encode(sent.tobytes()).decode("ascii"),
        colours=base64.b64encode(np.ascontiguousarray(colours, np.uint8).tobytes()).decode("ascii"),
        turn=0.7,
    )
