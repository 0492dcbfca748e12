"""The broadcast.toml that `broadcast init` writes: commented so that whoever is on duty understands each line."""

from __future__ import annotations

from string import Template

SIMULATED = ("speaker", "voice", "zwdd", "grid", "feed")  # channels that the example ends in a file

_HEAD = Template("""\
# 应急信息发布网关的设置。改完以后运行 broadcast health 看看有没有写错。
# "file:NAME" 是本目录里的文件（密码放在文件里，不写在这里），"env:NAME" 是环境变量，"home:PATH" 是本目录下的路径。
# 数据库和 Redis 不在这里写：BROADCAST_DATABASE_URL、BROADCAST_REDIS_URL；不设就用本目录的 ledger.db 和自带的 Valkey。

[county]
name = "$name"            # 对外署名的单位所在的县
signature = "$signature"       # 短信的【签名】，不带括号，与运营商登记的一致
public_drills = false      # 演练能否到达居民和真的大喇叭：县里书面同意了才改成 true
# plans = "plans"          # 预案（TOML），改了以后 broadcast plan check，再 broadcast plan import
# regions = "regions"      # 县、镇、村的区划，改了以后 broadcast regions import
# roles = "roles.csv"      # 岗位名称，随区划一起导入
# templates = "templates"  # 自己的话术；没有的用随程序来的
""")

_SOURCES = Template("""
# 预警从哪里来。哪个来源、哪一级可以不经审核直接发出，写在 plans/release.toml。
# code_system：对方用的是统计局代码 "nbs" 还是民政部代码 "mca"。没有问清楚就不要写：两种都认，不一致时会提示。
$sources""")

_SOURCE = Template("""
[[source]]
name = "$name"
sender_codes = ["$code"]  # 12379 的 14 位发布单位代码
token = "file:$name.token"  # 对方的程序用它证明自己（broadcast send --source … --token-file …）；不写就只能由值班员发
# code_system = "nbs"
""")

_MAS = Template("""
# 往哪里去。simulated = true 是模拟的：只发给测试号码，谁也收不到；false 是真的：绝不发给测试号码。
# concurrency：同时几个请求；rate：每秒最多几个请求，0 为不限。

[[peer]]                   # 短信：中国移动云MAS。现在连的是 broadcast simulate 开的模拟平台
name = "mas-1"
channel = "sms"
protocol = "mas"
simulated = true
concurrency = 4
[peer.options]
url = "http://127.0.0.1:$simulator_port"   # 真的平台：签约时给的地址，https://…
ec_name = "测试单位"        # 企业名称
ap_id = "simulated"        # 接口账号
secret_key = "file:mas.secret"             # 接口密码
sign = "SIGN1"             # 平台发的签名编码，不是签名的文字
""")

_LOOPBACK = Template("""
[[peer]]                   # $what：模拟的，写进 out/$channel.jsonl，不出这台机器
name = "$channel-loopback"
channel = "$channel"
protocol = "loopback"
simulated = true
[peer.options]
file = "home:out/$channel.jsonl"
""")

_SERVER = Template("""
[server]                   # 短信平台的状态报告从这里进来
host = "127.0.0.1"
port = $port
# allow = ["203.0.113.7/32"]   # 只收这些地址来的；不写就都收（路径里有密码）
[server.callbacks]         # 报告的地址：http://HOST:PORT/callbacks/mas-1/密码
mas-1 = "file:callback.secret"
""")

_WHAT = {"speaker": "村村响大喇叭", "voice": "语音电话", "zwdd": "浙政钉", "grid": "基层治理平台 141", "feed": "其他平台"}

_SKELETON_PEERS = """
# 往哪里去：每个渠道一段 [[peer]]。simulated = true 是模拟的：只发给测试号码；false 是真的：绝不发给测试号码。
# 下面是短信（中国移动云MAS）的样子，把签约时给的填进去，去掉行首的 # 号。
#
# [[peer]]
# name = "mas-1"
# channel = "sms"
# protocol = "mas"
# simulated = false
# concurrency = 4            # 同时几个请求
# rate = 0                   # 每秒最多几个请求，0 为不限
# [peer.options]
# url = "https://…"          # 平台地址
# ec_name = "…"              # 企业名称
# ap_id = "…"                # 接口账号
# secret_key = "file:mas.secret"   # 接口密码：写在文件 mas.secret 里，chmod 600
# sign = "…"                 # 平台发的签名编码
"""


def example_page(port: int) -> str:
    """Deqing with simulated far ends: SMS at the stand-in on the port after the server's, all other ways end in files."""
    sources = _SOURCE.substitute(name="deqing-met", code="33052141600000")
    sources += _SOURCE.substitute(name="deqing-water", code="33052133200000")
    return "".join(
        (
            _HEAD.substitute(name="德清县", signature="德清应急"),
            _SOURCES.substitute(sources=sources),
            _MAS.substitute(simulator_port=port + 1),
            *(_LOOPBACK.substitute(channel=channel, what=_WHAT[channel]) for channel in SIMULATED),
            _SERVER.substitute(port=port),
        )
    )


def skeleton_page(port: int) -> str:
    """A county that has yet to say who it is."""
    example = "".join(f"# {line}\n" if line else "#\n" for line in _SOURCE.substitute(name="met", code="…").strip().splitlines())
    return "".join(
        (
            _HEAD.substitute(name="某某县", signature="某某应急"),
            _SOURCES.substitute(sources="\n" + example),
            _SKELETON_PEERS,
            _SERVER.substitute(port=port),
        )
    )
