"""The broadcast.toml that `broadcast init` writes: commented so that whoever is on duty understands each line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from string import Template

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

_PEERS = Template("""
# 往哪里去。simulated = true 是模拟的：只发给测试号码，谁也收不到；false 是真的：绝不发给测试号码。
# concurrency：同时几个请求；rate：每秒最多几个请求，0 为不限。现在连的都是 broadcast simulate 开的模拟平台。
# 各协议的全部选项：docs/channels.md。"callback:NAME" 是本机收 NAME 报告的地址，带密码。

[[peer]]                   # 村村响：县应急广播平台，EBD 包（GD/J 082、083-2018）
name = "ebd-1"
channel = "speaker"
protocol = "ebd"
simulated = true
concurrency = 2            # 089：县平台至少同时处理两个请求
[peer.options]
url = "http://127.0.0.1:$stand_in/EB/ebdsvc.html"   # 平台地址
ebrid = "43305210000000001010101"          # 我方资源编码，由县里登记分配
peer_ebrid = "43305210000000101010101"     # 平台的资源编码
reply_url = "callback:ebd-1"               # 平台往这里报状态
sender_name = "$name突发事件预警信息发布中心"
private_key = "file:ebd.key"               # SM2 私钥
cert_sn = "$cert"
verify = "require"                         # 平台发来的包要验签：require、warn、off
peer_public_keys = ["$platform_key"]

[[peer]]                   # 短信：中国移动云MAS
name = "mas-1"
channel = "sms"
protocol = "mas"
simulated = true
[peer.options]
url = "http://127.0.0.1:$stand_in"   # 真的平台：签约时给的地址，https://…
ec_name = "测试单位"        # 企业名称
ap_id = "simulated"        # 接口账号
secret_key = "file:mas.secret"             # 接口密码
sign = "SIGN1"             # 平台发的签名编码，不是签名的文字

[[peer]]                   # 短信的第二家：运营商 SMPP 3.4，云MAS 不通时用
name = "smpp-1"
channel = "sms"
protocol = "smpp"
simulated = true
concurrency = 1
[peer.options]
host = "127.0.0.1"
port = $smsc
system_id = "simulated"
password = "file:smpp.secret"
source_addr = "10690000"   # 服务代码
signature = "$signature"

[[peer]]                   # 语音电话：按 1 才算叫应
name = "vms-1"
channel = "voice"
protocol = "vms"
simulated = true
concurrency = 8
rate = 50                  # 合同上限每秒 100 次
[peer.options]
url = "http://127.0.0.1:$stand_in"
access_key_id = "simulated-key"
access_key_secret = "file:vms.secret"
caller = "15400000000"     # 买的号码
start_code = "TTS_1"       # 报备的话术模板
confirmed_code = "TTS_2"   # 按 1 以后放的

[[peer]]                   # 浙政钉 DING：每人一条，带本人的确认链接
name = "ding-1"
channel = "zwdd"
protocol = "zwdd-ding"
simulated = true
[peer.options]
url = "http://127.0.0.1:$stand_in"
app_key = "simulated-app"
app_secret = "file:zwdd.secret"
tenant_id = "196729"
creator = "9000000000"     # 谁发的：值班室的账号

[[peer]]                   # 浙政钉工作通知：一次最多 1000 人，两次之间至少十分钟
name = "notice-1"
channel = "zwdd"
protocol = "zwdd-notice"
simulated = true
concurrency = 1
[peer.options]
url = "http://127.0.0.1:$stand_in"
app_key = "simulated-app"
app_secret = "file:zwdd.secret"
tenant_id = "196729"

[[peer]]                   # 基层治理平台 141：网格员的任务
name = "grid-1"
channel = "grid"
protocol = "grid"
simulated = true
concurrency = 4
[peer.options]
url = "http://127.0.0.1:$stand_in/grid/tasks"
secret = "file:grid.secret"

[[peer]]                   # 其他平台：上级和邻县，CAP 1.2
name = "feed-1"
channel = "feed"
protocol = "feed"
simulated = true
[peer.options.platforms."sim:feed:city"]
url = "http://127.0.0.1:$stand_in/feed/city"
secret = "file:feed-city.secret"
[peer.options.platforms."sim:feed:anji"]
url = "http://127.0.0.1:$stand_in/feed/anji"
secret = "file:feed-anji.secret"
[peer.options.platforms."sim:feed:changxing"]
url = "http://127.0.0.1:$stand_in/feed/changxing"
secret = "file:feed-changxing.secret"

# 一个渠道有几家时先用哪一家；[order.red] 等是那一级自己的次序。
[order]
sms = ["mas-1", "smpp-1"]
zwdd = ["notice-1", "ding-1"]
[order.red]
zwdd = ["ding-1", "notice-1"]
[order.orange]
zwdd = ["ding-1", "notice-1"]
""")

_SERVER = Template("""
[server]                   # 各平台的报告、叫应的答复从这里进来；也收预警（POST /alerts）
host = "127.0.0.1"
port = $port
public_url = "http://127.0.0.1:$port"   # 人打开确认页用的地址；不写，文字里就没有链接
# callback_url = "http://…"    # 各平台往回报的地址，与上面不同时才写
# allow = ["203.0.113.7/32"]   # 只收这些地址来的报告；不写就都收（路径里有密码）
[server.callbacks]         # 报告的地址：http://HOST:PORT/callbacks/名称/密码
$callbacks""")

_STAND_INS = Template("""\
# 模拟平台的设置：broadcast simulate 读它。改快慢、行为在这里；各项见 python -m broadcast.simulator --help。
port = $stand_in

[ebd]
systems_seconds = 60       # 各村大喇叭多久报一次状态
play_seconds = 120
callback = "$base/callbacks/ebd-1/$secret"
villages = [$villages]

[mas]
secret_key_file = "mas.secret"
signature = "$signature"
callback = "$base/callbacks/mas-1/$secret"
reply_share = 0.3          # 多少人回复 1
reply_seconds = 20

[smpp]
port = $smsc
password_file = "smpp.secret"

[vms]
access_key_secret_file = "vms.secret"
callback = "$base/callbacks/vms-1/$secret"

[zwdd]
app_secret_file = "zwdd.secret"

[grid]
secret_file = "grid.secret"
callback = "$base/callbacks/grid-1/$secret"
callback_secret_file = "grid.secret"

[feed.secrets]
city = "$feed_city"
anji = "$feed_anji"
changxing = "$feed_changxing"
""")

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


@dataclass(frozen=True, slots=True)
class Doors:
    """Where an example listens: the server, and behind it the stand-ins over HTTP and SMPP."""

    port: int

    @property
    def stand_in(self) -> int:
        """Of all HTTP stand-ins."""
        return self.port + 1

    @property
    def smsc(self) -> int:
        """Of the carrier's stand-in."""
        return self.port + 2


CALLBACKS = ("ebd-1", "mas-1", "vms-1", "grid-1")


def example_page(doors: Doors, *, cert: str, platform_key: str) -> str:
    """Deqing with every way out, each ending at its stand-in."""
    sources = _SOURCE.substitute(name="deqing-met", code="33052141600000")
    sources += _SOURCE.substitute(name="deqing-water", code="33052133200000")
    county = {"name": "德清县", "signature": "德清应急"}
    callbacks = "".join(f'{peer} = "file:callback.secret"\n' for peer in CALLBACKS)
    return "".join(
        (
            _HEAD.substitute(county),
            _SOURCES.substitute(sources=sources),
            _PEERS.substitute(county, stand_in=doors.stand_in, smsc=doors.smsc, cert=cert, platform_key=platform_key),
            _SERVER.substitute(port=doors.port, callbacks=callbacks),
        )
    )


def stand_ins_page(doors: Doors, secrets: Mapping[str, str], villages: Sequence[str]) -> str:
    """simulator.toml: the far ends of `example_page`. `secrets`: file name → what is in it; it holds some of them itself."""
    return _STAND_INS.substitute(
        stand_in=doors.stand_in,
        smsc=doors.smsc,
        base=f"http://127.0.0.1:{doors.port}",
        secret=secrets["callback.secret"],
        signature="德清应急",
        villages=", ".join(f'"{code}"' for code in villages),
        feed_city=secrets["feed-city.secret"],
        feed_anji=secrets["feed-anji.secret"],
        feed_changxing=secrets["feed-changxing.secret"],
    )


def skeleton_page(port: int) -> str:
    """A county that has yet to say who it is."""
    example = "".join(f"# {line}\n" if line else "#\n" for line in _SOURCE.substitute(name="met", code="…").strip().splitlines())
    return "".join(
        (
            _HEAD.substitute(name="某某县", signature="某某应急"),
            _SOURCES.substitute(sources="\n" + example),
            _SKELETON_PEERS,
            _SERVER.substitute(port=port, callbacks='# mas-1 = "file:callback.secret"\n'),
        )
    )
