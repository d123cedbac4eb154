import{b as e,d as t,f as n,g as r,h as i,i as a,l as o,m as s,t as c,u as l,v as u}from"./html.js";import{ActivityList as d}from"./activity.js";import{A as f,D as p,S as m,_ as h,a as g,b as _,c as v,d as y,g as b,h as x,i as S,j as C,l as w,m as T,n as E,p as D,r as O,s as k,t as A,u as j,v as M,x as N}from"./app.js";import{confirmEvict as P,confirmOverride as F,confirmPause as I,confirmRevoke as L}from"./group-actions.js";import{t as R}from"./quota.js";function z(e){let[r,i]=[t(e?.from),n(e?.step)];if(r===void 0||i===void 0||i===0)return;let a=(e=[])=>e.map(e=>Number(e)*1e3/i),o=a(e?.admitted).slice(0,-1),s=a(e?.arrived);return[o.map((e,t)=>(r+t*i)/1e3),o.map((e,t)=>s[t]??0),o]}function B({history:e,last:t,stuck:n}){let i=u(null),a=u(null),o=z(e),l={since:n&&t!==void 0?t/1e3:void 0},d=u({series:o,marks:l});d.current={series:o,marks:l};let p=o!==void 0;r(()=>{if(!p)return;let e=!1;return import(`./chart.js`).then(({drawChart:t})=>{let{series:n,marks:r}=d.current;!e&&i.current!==null&&n!==void 0&&(a.current=t(i.current,n,r))}),()=>{e=!0,a.current?.end()}},[p]);let m=o?.[0].at(-1);return r(()=>{o!==void 0&&a.current?.set(o,l)},[m,o?.[2].at(-1),o?.[1].at(-1),l.since]),p?c`<div class="chart" ref=${i} role="img" aria-label="Arrivals and admissions a second in the last 15 minutes" />
${n&&t!==void 0&&c`<p class="t2 r lastadm">last admission ${s(f()-t)} ago</p>`}`:c`<p class="none">not known: the server keeps no history of this group</p>`}const V=async e=>(await import(`./explain.js`)).openExplain(e);function H({name:e,all:t,operator:n}){let r=`v1/groups/${encodeURIComponent(e)}`,{data:i,at:a,problem:o,refresh:s}=C(r),u=C(`${r}/leases?page_size=60`),d=C(`${r}/waiters?page_size=${t?60:4}`),f=C(`${r}/keys?sort=waiting&page_size=60`,5e3),m=u.data?.leases??[],h=m.find(({permit:e})=>e===i?.binding?.holders?.oldest?.permit),g=()=>{s(),u.refresh(),d.refresh()},v=e=>()=>i===void 0||!n||o?.status===404?!1:e(i,g),b=e=>i&&n&&L(i,e,g),x=e=>i&&n&&P(i,e,g);p({p:v(I),o:v(F),e:()=>V(e),x:()=>h??m[0]?b(h??m[0]):!1,Escape:()=>E(t?`groups/${encodeURIComponent(e)}`:``)});let S=o?.status===404;return c`<div class="ghead">
<nav aria-label="Back"><a href="#/">Groups</a> /</nav>
<h1>${e}</h1>
${i&&j(_(i))} ${i&&c`<span class="t2">${U(i)}</span>`} ${i&&D(i).map(([e,t])=>y(e,t))}
<i />
<button onClick=${()=>V(e)}>Explain a call ${k(`e`)}</button>
${n&&!S&&c`<button onClick=${v(F)}>${i?.overrideLeft===void 0?`Override`:`End override`} ${k(`o`)}</button>
<button onClick=${v(I)}>${i?.pause===void 0?`Pause`:`Resume`} ${k(`p`)}</button>`}
</div>
${o!==void 0&&o.status!==0&&O(S?{...o,title:`${e} is not in the file any more`}:o,s)}
${i&&c`<${W} ...${{group:i,at:a,lease:n?h:void 0,revoke:b,resume:v(I)}} />`}
<div class="split">
<div class="pane">
${i&&c`<${G} group=${i} />`}
${!t&&c`<${q} ...${{held:m,total:l(u.data?.total)??m.length,at:u.at,group:i,act:n?b:void 0,problem:u.problem,retry:u.refresh}} />`}
${!t&&i&&c`<${Y} ...${{group:i,at:a,keys:f.data?.keys??[]}} />`}
<${$} ...${{waiters:d.data?.waiters??[],total:l(i?.waiting)??0,at:d.at,act:n?x:void 0,all:t,name:e}} />
</div>
<aside>${i&&c`<${ee} group=${i} />`}</aside>
</div>`}function U({enforce:e,placement:t}){let n=e===!1?`shadow: counted, no caller is held`:`enforced`;return t===void 0?n:`${n}, shard ${t.shard??0} on ${t.replica||`no replica`}, term ${t.term??0}`}function W({group:e,at:n,lease:r,revoke:i,resume:o}){let u=_(e);if(![`stuck`,`late`,`paused`,`undecided`].includes(u)&&e.degraded!==!0)return null;let d=S[u]?.tone??`amber`,p=t(e.stateSince),m=t(e.binding?.holders?.oldest?.expiresAt),h=b(e,n),g=`${a(l(e.waiting)??0)} callers wait${h===void 0?``:`, the oldest for ${s(f()-h)}`}.`;return c`<div class=${`verdict ${d}`} role="status">
<div>
<div>${u===`stuck`&&p!==void 0&&c`<b>Nothing was admitted for ${s(f()-p)}.</b> `}${w(e.binding?.text??``,x(e))}</div>
<div class="t2" aria-live="off">${g} ${m!==void 0&&`Left alone, the lease lapses in ${s(m-f())}.`}</div>
</div>
${u!==`paused`&&r&&c`<button class="out" onClick=${()=>i(r)}>Revoke the lease… ${k(`x`)}</button>`}
${u===`paused`&&c`<button class="out" onClick=${o}>Resume… ${k(`p`)}</button>`}
</div>`}function G({group:e}){let{limits:t=[],binding:n}=e,r=S[_(e)]?.tone??``,i=n===void 0?void 0:T(e),o=e=>e===i;return c`<section>
${v(`Limits`,t.length>1?`all must agree`:t.length===0?`none of its own`:``)}
<div class="grid limits">
${t.map(e=>{let t=o(e);return c`<div class="line">
<b>${e.name} ${t&&y(`binds`,r)}</b><span class="t2">${R(e)}</span>${g(h(e),t?r:``,300)}
<span class="r">${m(e).replace(` / `,` of `)}</span><span class="r t2">${K(e)}</span>
</div>
${e.fullest?.slice(0,5).map(e=>c`<div class="line sub">
<span>${e.key}</span><span />${g((l(e.used)??0)/Math.max(1,l(e.capacity)??1),``,300)}<span class="r"
>${a(l(e.used)??0)} of ${a(l(e.capacity)??0)}</span
><span />
</div>`)}`})}
</div>
</section>`}function K(e){let t=l(e.debt)??0;if(t>0)return`debt ${a(t)}`;if(i(e.scope,`LIMIT_SCOPE_`)===`key`)return e.keysInUse===void 0?``:`${a(Number(e.keysInUse))} keys`;if(h(e)<1)return`open`;let r=n(e.resetAfter);return i(e.kind,`LIMIT_KIND_`)===`concurrency`?`opens at a release`:r===void 0?``:`whole in ${s(r)}`}function q({held:e,total:t,at:r,group:o,act:l,problem:u,retry:d}){let f=o?.limits?.some(({kind:e})=>i(e,`LIMIT_KIND_`)===`concurrency`)===!0;if(t===0&&!f)return null;let p=o?.holdUsual,m=n(p?.p99),h=`${a(t)} lease${t===1?``:`s`}, oldest first${p?.p50===void 0?``:`; usual hold ${s(n(p.p50)??0)} (median), ${s(m??0)} (p99)`}`,g=()=>Date.now()-r,_=[{head:`Held ↓`,width:90,right:!0,cell:({held:e})=>{let t=(n(e)??0)+g();return c`<b class=${m!==void 0&&t>m?`red`:``}>${s(t)}</b>`}},{head:`Holder`,cell:({holder:e})=>c`<b>${e??``}</b>`},{head:`Key`,width:130,cell:({key:e})=>e??``},{head:`Lease ends`,width:110,right:!0,cell:({left:e})=>`in ${s((n(e)??0)-g())}`},{head:`Renewed`,width:110,right:!0,cell:J},{head:`Fence`,width:170,right:!0,cell:({fence:e})=>c`<code>${e??``}</code>`},{head:c`<span class="hidden">Revoke</span>`,width:90,right:!0,cell:e=>l&&c`<button class="plain" onClick=${()=>l(e)}>Revoke…</button>`}];return c`<section>
${v(`Holders`,h)} ${u&&u.status!==0&&O(u,d)}
${e.length>0&&c`<${A} ...${{label:`Holders`,columns:_,rows:e,idOf:({permit:e})=>e,keys:l?{x:l}:{}}} />`}
</section>`}function J({renewals:e,renewedAt:n}){let r=t(n);return r===void 0?e===`0`?`never`:``:`${s(f()-r)} ago`}function Y({group:t,at:n,keys:r}){let i=l(t.waiting)??0,[o,u]=e(!1);if(i===0)return null;let d=t.backlog??[],p=d.flatMap(e=>{let t=r.filter(t=>t.priority===void 0||t.priority===e.priority).filter(()=>d.length===1||r[0]?.priority!==void 0),i=t.slice(0,o?60:3);return[X(e,t.length,n),...i.map(Z)]});return c`<section>
${v(`Queue`,`${a(i)} waiting, by class and key`,r.length>3&&c`<button class="plain" onClick=${()=>u(!o)}>${o?`Fewer keys`:`More keys`}</button>`)}
<${A} ...${{label:`Queue by class and key`,columns:[{head:`Class`,width:140,cell:({name:e})=>e},{head:`Key`,width:120,cell:({key:e})=>e},{head:`Share of the queue`,cell:({waiting:e})=>g(e/i,``,220)},{head:`Waiting`,width:90,right:!0,cell:({waiting:e})=>a(e)},{head:`Oldest`,width:90,right:!0,cell:({since:e})=>e!==void 0&&c`<b>${s(f()-e)}</b>`},{head:`Least time left`,width:120,right:!0,cell:({timeLeft:e})=>e??``},{head:`Told now`,width:140,right:!0,cell:({told:e})=>c`<span class="t2">${e}</span>`}],rows:p,idOf:({id:e})=>e}} />
</section>`}function X(e,t,n){let r=e.priority??0,i=e.class===void 0||e.class===``?r===1e3?`deferred`:`priority ${r}`:e.class;return{id:`class ${r}`,name:c`<b>${i}</b>`,key:t===0?``:c`<span class="t2">${t} key${t===1?``:`s`}</span>`,waiting:l(e.waiting)??0,since:b(e,n),timeLeft:Q(e.leastTtlLeft),told:e.told===void 0?``:N(e.told)}}function Z(e){return{id:`key ${e.priority} ${e.key}`,name:``,key:e.key||`no key`,waiting:l(e.waiting)??0,since:t(e.oldestSince),timeLeft:Q(e.leastTtlLeft),told:``}}function Q(e){let t=n(e);return t===void 0?void 0:s(t)}function $({waiters:e,total:t,at:r,act:i,all:o,name:l}){if(e.length===0)return null;let u=()=>Date.now()-r,d=[{head:`Place`,width:60,right:!0,cell:({place:e})=>c`<b>${e?.place??``}</b>`},{head:`Holder`,cell:({holder:e})=>e??``},{head:`Key`,width:130,cell:({key:e})=>e??``},{head:`Class`,width:150,cell:e=>e.class||(e.priority===1e3?`deferred`:`priority ${e.priority??0}`)},{head:`Waited`,width:110,right:!0,cell:({waited:e})=>c`<b>${s((n(e)??0)+u())}</b>`},{head:`Time left`,width:120,right:!0,cell:({ttlLeft:e})=>s((n(e)??0)-u())},{head:c`<span class="hidden">Evict</span>`,width:80,right:!0,cell:e=>i&&c`<button class="plain" onClick=${()=>i(e)}>Evict…</button>`}],f=`#/groups/${encodeURIComponent(l)}${o?``:`/waiters`}`;return c`<section>
${v(o?`All waiters`:`Next in line`,`the first ${e.length} of ${a(t)}`,c`<a class="t2" href=${f}>${o?`the group`:`all waiters`}</a>`)}
<${A} ...${{label:`Waiters`,columns:d,rows:e,idOf:({id:e})=>e,keys:i?{x:i}:{}}} />
</section>`}function ee({group:e}){let n=M(e),{arrivedPerSecond:r,admittedPerSecond:i}=e,s=c`<span class="legend"><em class="in" />in ${r===void 0?``:`${o(r)}/s`} <em class="out" />out ${i===void 0?``:`${o(i)}/s`}</span>`,l=te(e);return c`<section>${v(`Arrivals and admissions`,``,s)}<${B} history=${e.history} last=${t(e.lastAdmittedAt)} stuck=${_(e)===`stuck`} /></section>
${n&&c`<section>
${v(`Refused`,`${a(n.all)} in 15 min`)}
<div class="grid refused">
${n.reasons.map(([e,t])=>c`<div class="line"><span>${e}</span>${g(t/n.all,``,150)}<span class="r">${a(t)}</span></div>`)}
</div>
</section>`}
<section>${v(`Activity`,``,c`<a class="t2" href="#/activity">all</a>`)}<${d} group=${e.name} limit=${5} /></section>
<section>${v(`Settings`,``)}<dl class="pairs">${l.map(([e,t])=>c`<dt>${e}</dt><dd>${t}</dd>`)}</dl></section>`}function te(e){let t=e.settings??{};return[...Object.entries(t).map(([e,t])=>[e.charAt(0).toUpperCase()+e.slice(1),String(t)]),[`Parent`,e.parent||`none`],[`Keys in use`,a(l(e.keys)??0)],[`Leases`,a(l(e.leases)??0)]]}export{H as GroupScreen};